"""The coordinator's side: runs a study over the hospitals of a consortium, pools what they release, publishes it.

May import `core` and `protocol`, never `client`. Only `deploy` imports it.
"""
