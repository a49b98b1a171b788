"""The methods of the server: their table, their parameters and their functions.

Imported by `server`, and by `api` of `raven_http`; imports `jsonrpc`, and `raven.host` and below.
"""
