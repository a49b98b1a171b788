"""A bus inside an asyncio program that speaks for many addresses, free of sockets and JSON: threads, push, waits.

Imported by `cli`, and by `methods` and `server` of `raven_rpc`; imports `client` and below.
"""
