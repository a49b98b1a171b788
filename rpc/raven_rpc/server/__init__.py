"""The server: connections, dispatch, the order of requests and responses.

Imported by the public face alone; imports `methods`, `jsonrpc`, and `raven.host` and below.
"""
