"""What crosses the wire between hospitals and coordinator: messages, signatures, receipts.

May import `core`. Client, server and deploy may import it; `storage` and `local`, which they share, are not
about the wire.
"""
