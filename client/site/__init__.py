"""The site: what answers a study's requests, and the daemon that serves it.

May import `client.table`, `client.ledger`, `core` without `core.audit` and `core.utility`, and `protocol`; the
relay, the steward's commands and `deploy` import it. Everything that a reply depends on is here or below, and
nothing here can import what looks at records without noise (`tests/test_layout.py`).
"""
