"""The site's ledger: what was approved, reserved, drawn and released, and what it has cost.

May import `core` and `protocol`; the site and the steward's commands import it. It reads no record, since the
answers come to it from the vault, with noise.
"""
