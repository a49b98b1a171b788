"""Call each method for the first time without a descriptor left, and print its error or null: `first_calls.py DB`."""

import json
import os
import sys
from contextlib import suppress

from raven import BusClient

CALLS = {
    "inbox": lambda bus: bus.inbox(),
    "claim": lambda bus: bus.claim(),
    "ack": lambda bus: bus.ack(1),
    "request": lambda bus: bus.request("b:s", "ask", timeout_s=0.01),
    "listen": lambda bus: list(bus.listen(timeout_s=0)),
    "subscribe": lambda bus: bus.subscribe(),
    "transaction": lambda bus: bus.transaction(),
    "execute": lambda bus: bus.execute("SELECT 1", ()),
    "receipts": lambda bus: bus.receipts(1),
    "wait_receipt": lambda bus: bus.wait_receipt(1, "sent"),
    "history": lambda bus: bus.history("c"),
    "tail": lambda bus: list(bus.tail(follow=False)),
    "dead": lambda bus: bus.dead(),
    "peers": lambda bus: bus.peers(),
    "stats": lambda bus: bus.stats(),
    "prune": lambda bus: bus.prune(1),
    "forget": lambda bus: bus.forget("b:s"),
}

bus = BusClient.at("a:s", sys.argv[1])
bus.send("a:s", "note")
held = []
with suppress(OSError):
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
for name, call in CALLS.items():
    try:
        call(bus)
        print(json.dumps([name, None]), flush=True)
    except Exception as error:
        print(json.dumps([name, f"{type(error).__name__}: {error}"]), flush=True)
for descriptor in held:
    os.close(descriptor)
assert [message.id for message in bus.claim()] == [1]
