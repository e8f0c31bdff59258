"""The site's ledger: what was promised, reserved and spent, and the policy and signed acts that allow it."""
