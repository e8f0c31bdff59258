"""How a site's table is read: files, a database, and the checked copy that is served.

May import `core.data` and `protocol`; everything else of the client and `deploy` import it.
"""
