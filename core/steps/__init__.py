"""Anonymize, Approximate, Adapt: the paper's three steps, as `README.md` beside this file has them.

May import `core.data` and `core.privacy`.
"""
