"""Listen, and let a thread that is not the main one take a SIGTERM: `signalled_thread.py DB ADDRESS MODE`.

The kernel may choose any thread of a process for its signals; only the main one runs Python's handlers.
"""

import asyncio
import signal
import sys
import threading

from raven import BusClient

db, address, mode = sys.argv[1:]
bus = BusClient.at(address, db)


def signal_myself():
    sys.stdin.readline()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)


async def subscribe():
    async for _ in bus.subscribe(poll_interval_s=60):
        pass


threading.Thread(target=signal_myself, daemon=True).start()
if mode == "subscribe":
    asyncio.run(subscribe())
else:
    for _ in bus.listen(poll_interval_s=60):
        pass
