"""Fork inside a loop over a server, and drop the child's copy: `rpc_forked_loop.py SOCKET ADDRESS MODE`."""

import asyncio
import os
import sys

from raven_rpc import Client

path, address, mode = sys.argv[1:]
bus = Client(path, address)


def fork(messages):
    """Fork; the child closes the inherited loop, and ends."""
    child = os.fork()
    if not child:
        messages.close()
        bus.close()
        os._exit(0)
    os.waitpid(child, 0)


async def subscribe():
    messages = bus.subscribe()
    async for message in messages:
        print(message.id, flush=True)
        if message.id == 1:
            fork(messages)


if mode == "subscribe":
    asyncio.run(subscribe())
else:
    messages = bus.listen()
    for message in messages:
        print(message.id, flush=True)
        if message.id == 1:
            fork(messages)
