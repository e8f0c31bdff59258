"""Commands for one table on one's own machine: no server, no network.

May import `client.table`, `core` and `protocol`; only `deploy` imports it. It looks at records without noise, so
nothing that answers a coordinator may import it (`tests/test_layout.py`).
"""
