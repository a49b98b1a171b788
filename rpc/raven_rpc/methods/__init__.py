"""What a caller can call: the table of methods, their parameters, and what each does.

Imported by `server`; imports `jsonrpc`, and `raven.host` and below.
"""
