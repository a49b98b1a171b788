"""Fuzz: random bytes at the parsers of the protocol."""
