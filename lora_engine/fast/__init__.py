"""Faster ways to the same numbers. Each module has a switch, a reason and an equality test."""
