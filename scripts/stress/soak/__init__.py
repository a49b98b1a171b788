"""Soak: a mixed load for long."""
