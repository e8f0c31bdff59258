"""Anonymize, Approximate, Adapt: the paper's three steps. May import `core.data` and `core.privacy`."""
