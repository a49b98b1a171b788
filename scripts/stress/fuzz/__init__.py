"""Fuzz: bytes at the parsers of the protocol."""
