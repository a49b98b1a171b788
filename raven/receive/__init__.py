"""Loops that deliver: acked before they are yielded, or leased until acked; and requests that wait for an answer.

May import: delivery and below.
"""
