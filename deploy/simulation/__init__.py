"""A whole consortium on one machine: in one process, or on Flower's simulation engine.

May import `client` and `server`, and from `deploy` only `deploy/meeting`.
"""
