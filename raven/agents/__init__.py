"""Coding agents on the bus: which session of which program has an address, and whether it is alive.

Imported by `query`, and by `session` of raven_mcp; imports `store` and below.
"""
