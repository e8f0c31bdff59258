"""A whole consortium in one process, or on Flower's simulation engine."""
