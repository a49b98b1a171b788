"""Reads of the whole bus: the log, peers, receipts, counts.

Imported by `observer` and what stands on it; imports `delivery` and below.
"""
