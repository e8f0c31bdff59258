"""The variant for wide tables of numbers.

May import what stands below it: `core.steps`, `core.privacy`, `core.data`.
"""
