"""Coding agents on the bus: which session of which program has an address, and whether it is alive.

Imported by `delivery` and the rooms above it, and by `session` of raven_mcp; imports `store` and below.
"""
