"""A bus in an asyncio program that acts for many addresses: threads, pollers, push, deferred; no sockets, no JSON.

Imported by `cli`, and by `methods` and `server` of `raven_rpc`; imports `client` and below.
"""
