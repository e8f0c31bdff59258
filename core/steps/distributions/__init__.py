"""Distributions from noised shares: the nearest one (`simplex`), the one of largest posterior density
(`log_density`), and that of one column over all classes (`smooth`). Imports `core.data` alone; released values
only.
"""
