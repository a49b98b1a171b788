"""The wire: lines, JSON-RPC messages, error codes, Unix sockets; knows no method.

May import: raven.errors and raven.model.
"""
