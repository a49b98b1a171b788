"""Reads of the whole bus: the log, peers, receipts, counts.

Imported by `observer` and the rooms above it; imports `delivery` and below.
"""
