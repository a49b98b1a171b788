"""How a waiter learns of mail: doorbells, listeners, and the watch on the WAL for foreign writers.

May import: store and below.
"""
