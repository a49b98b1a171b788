"""Loops that deliver messages, with automatic or manual acks; requests that wait for a reply.

Imported by `client` and the rooms above it; imports `delivery` and below.
"""
