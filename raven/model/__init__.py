"""Values: addresses, bodies, messages, drafts, times, limits; no I/O.

May import: errors.
"""
