"""Let the garbage collector find open loops while all locks are taken: `collected_loop.py DB`.

Another thread is inside a write of the client, and this one holds the lock of the WAL watcher. It prints whether the
collection came to its end, and then how many deliveries are leased and how many doorbells are there at last.
"""

import asyncio
import gc
import json
import sys
import threading
from typing import Any

from raven import BusClient
from tests.support import DEADLINE_S, bells, wait_until

db = sys.argv[1]
bus = BusClient.at("worker:s", db)
bus.send_many([{"to": bus.address, "type": "note"}] * 100)
gc.disable()
inside, leave = threading.Event(), threading.Event()


def use_the_client() -> None:
    def step(tx: object) -> None:
        inside.set()
        leave.wait(DEADLINE_S)

    bus._store.write(step)


async def begin(messages: Any) -> list[Any]:
    """Begin waits of all kinds for an event loop, and take some messages."""
    tasks = [
        asyncio.ensure_future(bus.request_async("nowhere:s", "question", timeout_s=60)),
        asyncio.ensure_future(bus.wait_receipt_async(1, timeout_s=60)),
    ]
    for _ in range(10):
        await anext(messages)
    await asyncio.sleep(0.1)
    return tasks


def open_loops() -> list[Any]:
    loop, automatic, manual = asyncio.new_event_loop(), bus.subscribe(), bus.listen(ack="manual")
    listening, tail = bus.listen(), bus.tail()
    tasks = loop.run_until_complete(begin(automatic))
    next(manual)
    for _ in range(10):
        next(listening)
    next(tail)
    cycle: list[Any] = [loop, automatic, manual, listening, tail, *(task.get_coro() for task in tasks)]
    for task in tasks:
        task._log_destroy_pending = False
    cycle.append(cycle)
    return cycle


open_loops()
thread = threading.Thread(target=use_the_client)
thread.start()
inside.wait(DEADLINE_S)
with bus._handle.watchers["wal"]._lock:
    gc.collect()
print(json.dumps("collected"), flush=True)
leave.set()
thread.join()
LEASED = "SELECT count(*) FROM deliveries WHERE lease IS NOT NULL AND state < 2 AND recipient = 'worker:s'"
wait_until(lambda: bus.execute(LEASED) == [(0,)] and not bells(db), "the end of the loops", 4)
wait_until(lambda: threading.active_count() == 1, "the end of the threads")
print(json.dumps(len(bus.claim(max=200))), flush=True)
