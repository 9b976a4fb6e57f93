"""Measurements against the usual stack: one script a table, which also writes JSON."""
