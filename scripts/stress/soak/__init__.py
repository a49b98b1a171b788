"""Soak: a mixed load for a long time."""
