"""What is kept on disk: journals that show whether they were damaged, altered or set back, and durable files.

May import `core.data` and `protocol`; the site's ledger, the server's store and `protocol.local` import it.
"""
