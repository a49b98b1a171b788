"""The methods of the server: their table, their parameters and their functions.

Imported by `server`; imports `jsonrpc`, and `raven.host` and below.
"""
