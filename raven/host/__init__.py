"""A bus inside an asyncio program that speaks for many addresses: worker thread, group commit, poller, pushers, waits.

May import: client and below; knows neither sockets nor JSON.
"""
