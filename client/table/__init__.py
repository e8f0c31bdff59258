"""How a site's table is read: files, a database, the checked copy that is served, and files that a cluster reads.

May import `core.data` and `protocol`; the client's `site`, `steward` and `local`, and `deploy`, import it.
"""
