"""The Python client of the socket, synchronous and asyncio.

May import: jsonrpc, raven.errors and raven.model.
"""
