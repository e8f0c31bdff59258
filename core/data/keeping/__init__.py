"""Keeping: drawn records are brought to keep the rules of the schema.

Sees drawn values only, never a record of a table.
"""
