"""Reads of the whole bus: the log, peers, receipts, counts.

May import: delivery and below.
"""
