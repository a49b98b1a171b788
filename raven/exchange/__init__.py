"""The exchange: which message another host has, what became of it there, and what this bus owes it; no network.

Imported by `doctor`, `link` and the rooms above them; imports `observer` and below.
"""
