"""Take messages through a server and print each: `rpc_consumer.py SOCKET ADDRESS '{"mode": "listen", ...}'`.

Besides the options of `listen`: `mode` (listen, subscribe), `hold_after` (from so many on, keep each in hand until a
line comes in).
"""

import asyncio
import itertools
import json
import sys

from raven_rpc import Client

path, address = sys.argv[1:3]
options = json.loads(sys.argv[3])
mode, hold_after = (options.pop(name, None) for name in ("mode", "hold_after"))
bus = Client(path, address)
numbers = itertools.count(1)


def take(message):
    print(json.dumps({"id": message.id, "body": message.body, "attempts": message.attempts}), flush=True)
    if hold_after and next(numbers) >= hold_after:
        sys.stdin.readline()


async def subscribe():
    async for message in bus.subscribe(**options):
        take(message)


if mode == "subscribe":
    asyncio.run(subscribe())
else:
    for message in bus.listen(**options):
        take(message)
