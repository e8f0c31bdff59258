"""The commands of the data steward: set a site up, see what a study costs, approve, revoke, keep the ledger.

May import everything of the client but `client.local`, and `core` and `protocol`; only `deploy` imports it.
"""
