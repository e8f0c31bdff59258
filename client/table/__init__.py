"""How a site's table is read: files, a database, the served copy and its cells, and files that a cluster reads.

May import `core.data` and `protocol`; the client's `site`, `steward` and `local`, and `deploy`, import it.
"""
