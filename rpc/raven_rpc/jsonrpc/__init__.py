"""The wire: lines, JSON-RPC messages, error codes, Unix sockets; knows no method.

Imported by `client`, `methods` and `server`; imports `raven.model` and `raven.errors`.
"""
