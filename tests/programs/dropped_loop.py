"""Drop an open loop in a reference cycle, for a garbage collection to find: `dropped_loop.py DB ADDRESS MODE`.

Then wait and allocate nothing meanwhile, so that the collection runs in another thread: that of the watch.
"""

import asyncio
import gc
import os
import sys

from raven import BusClient

db, address, mode = sys.argv[1:]
gc.disable()
bus = BusClient.at(address, db)
if mode == "subscribe":
    messages = bus.subscribe(poll_interval_s=60)
    first = asyncio.new_event_loop().run_until_complete(anext(messages))
else:
    messages = bus.listen(poll_interval_s=60)
    first = next(messages)
print(first.id, flush=True)
cycle = [messages]
cycle.append(cycle)
read = os.read  # reading by sys.stdin would allocate
read(0, 100)
del messages, cycle
gc.set_threshold(1)
gc.enable()
read(0, 100)
