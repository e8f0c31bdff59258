"""What people read and write on their own machines: terminal, tables, wording, text files, folders, keys.

May import `core`, `protocol` and `protocol.storage`; client, server and deploy import it. No message passes
through it, and nothing in `protocol` or `protocol.storage` may import it.
"""
