"""Exact figures on a person's own records: NOT PRIVATE, never sent.

Imports `core.data` alone; no site's reply may reach it.
"""
