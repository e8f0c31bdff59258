"""Exact figures on a person's own records: NOT PRIVATE, never sent.

Imports `core.data` and, of `core.steps`, `progress` alone; no site's reply may reach it.
"""
