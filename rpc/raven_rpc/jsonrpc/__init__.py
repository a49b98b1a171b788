"""The wire: lines, JSON-RPC messages, error codes, Unix sockets; knows no method.

Imported by `client`, `methods` and `server`, by `guard` of `raven_http` and by `wire` of `raven_mcp`;
imports `raven.model` and `raven.errors`.
"""
