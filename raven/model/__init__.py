"""Values: addresses, bodies, messages, drafts, leases, receipts, statistics, times, limits; no I/O.

May import: errors.
"""
