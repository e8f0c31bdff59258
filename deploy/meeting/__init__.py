"""Where coordinator and hospitals meet over a network: Flower's SuperLink, and how a study is submitted.

May import `client` and `server`, but from `deploy` only itself.
"""
