"""Take messages and print each, with the moment it came: `subscriber.py DB ADDRESS '{"mode": "listen", ...}'`.

Besides the options of `listen`: `mode` (listen, subscribe, tail), `stop_after` (end after so many messages),
`hold_after` (from so many on, keep each in hand until a line comes in).
"""

import asyncio
import itertools
import json
import sys
import time

from raven import BusClient

db, address = sys.argv[1:3]
options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
mode, stop_after, hold_after = (options.pop(name, None) for name in ("mode", "stop_after", "hold_after"))
bus = BusClient.at(address, db)
numbers = itertools.count(1)


def take(message):
    """Print one message; returns whether it was the last."""
    taken = next(numbers)
    line = {"id": message.id, "sender": message.sender, "body": message.body, "heard_at": time.monotonic()}
    print(json.dumps(line), flush=True)
    if hold_after and taken >= hold_after:
        sys.stdin.readline()
    return taken == stop_after


async def subscribe():
    async for message in bus.subscribe(**options):
        if take(message):
            break


if mode == "subscribe":
    asyncio.run(subscribe())
else:
    for message in bus.tail(**options) if mode == "tail" else bus.listen(**options):
        if take(message):
            break
