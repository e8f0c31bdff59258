"""What a table is: its data dictionary, its cells, and the way back from cells to values.

Imports no other part of core.
"""
