"""The Python client of the socket, synchronous and asyncio.

Imported by the public face alone; imports `jsonrpc`, `raven.model` and `raven.errors`.
"""
