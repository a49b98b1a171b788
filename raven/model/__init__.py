"""Values: addresses, bodies, messages, new messages, leases, receipts, statistics, times, limits; no I/O.

Imported by every room but `errors` and `files`; imports `errors`.
"""
