"""Abuse: the helper's socket, and all that can be done to it."""
