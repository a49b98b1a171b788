"""The wire: lines, JSON-RPC messages, error codes, Unix sockets; knows no method.

Imported by `client`, `methods` and `server`, and by `guard` of `raven_http`; imports `raven.model` and `raven.errors`.
"""
