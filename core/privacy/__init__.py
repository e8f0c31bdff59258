"""What the guarantee rests on: the vault, its questions, the noise and the accounting.

May import `core.data` alone.
"""
