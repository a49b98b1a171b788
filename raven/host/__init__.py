"""A bus in an asyncio program that acts for many addresses: threads, pollers, push, deferred; no sockets, no JSON.

Imported by `cli`, by `methods` and `server` of `raven_rpc`, and by `events` of `raven_http`; imports
`client` and below.
"""
