"""Loops that deliver: acked before they are yielded, or leased until acked; and requests that wait for an answer.

Imported by `client` and what stands on it; imports `delivery` and below.
"""
