"""Take and ack messages through a server until stdin ends: `ledger_consumer.py SOCKET ADDRESS MODE LEDGER`.

Each step is a line of the file LEDGER: the time, the process, the step, and the id of the message.
"""

import asyncio
import os
import sys
import threading
import time

from raven import DeliveryError, LostError, UnreachableError
from raven_rpc import Client

path, address, mode, ledger = sys.argv[1:]
bus = Client(path, address, timeout_s=10, connect_timeout_s=30)
log = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(step, id):
    os.write(log, f"{time.monotonic_ns()} {os.getpid()} {step} {id}\n".encode())


def take(message):
    note("delivered", message.id)
    time.sleep(0.002 * (message.id % 4))  # the work
    note("finished", message.id)
    try:
        bus.ack(message.id)
        note("acked", message.id)
    except DeliveryError:
        note("refused", message.id)
    except (LostError, UnreachableError):
        note("unknown", message.id)


def leave():
    sys.stdin.read()
    os._exit(0)


async def subscribe():
    async for message in bus.subscribe(ack="manual"):
        await asyncio.to_thread(take, message)


threading.Thread(target=leave, daemon=True).start()
print("ready", flush=True)
if mode == "subscribe":
    asyncio.run(subscribe())
else:
    for message in bus.listen(ack="manual"):
        take(message)
