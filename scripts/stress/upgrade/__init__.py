"""Upgrade: buses of other releases."""
