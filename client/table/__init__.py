"""How a site's table is read: files, a database, and the checked copy that is served.

May import `core.data` and `protocol`; the client's `site`, `steward` and `local`, and `deploy`, import it.
"""
