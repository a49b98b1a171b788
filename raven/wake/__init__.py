"""How a waiter learns of mail: doorbells, listeners, and the WAL watcher for external writers.

Imported by `delivery` and the packages above it; imports `store` and below.
"""
