"""How a waiter learns of mail: doorbells, listeners, and the watch on the WAL for foreign writers.

Imported by `delivery` and what stands on it; imports `store` and below.
"""
