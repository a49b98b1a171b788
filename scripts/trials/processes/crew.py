"""Play a part in the load of the processes trial: `... crew PART DB FOLDER NAME`, until a line comes in.

What it does is noted in the journal NAME of the folder. `producer` sends keys to the addresses of the other parts;
`auto` and `loop` take them with `listen` and `subscribe`, `manual` acks each, and `exact` notes each in a table, in the
same transaction.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from raven import BusClient, BusyError, DeliveryError, LeaseLostError
from scripts.trials.history.journal import Journal

TABLE = "CREATE TABLE IF NOT EXISTS exact_keys (key TEXT PRIMARY KEY)"
RECEIVERS = ("auto", "loop", "manual", "exact")
LEASE_S = 1.0
_BUSY_TIMEOUT_S = 0.5
_GAP_S = 0.004
_TURN_S = 0.3
_over = threading.Event()


def address(part: str) -> str:
    """Return the address at which a part receives."""
    return f"{part}:crew"


def produce(bus: BusClient, journal: Journal) -> None:
    number = 0
    while not _over.wait(_GAP_S):
        number += 1
        part, key = RECEIVERS[number % len(RECEIVERS)], f"{journal.life}-{number}"
        try:
            sent = bus.send(address(part), "work", key)
        except BusyError:
            journal.write("busy")
            continue
        journal.write("sent", part=part, key=key, id=sent.id)


def take(bus: BusClient, journal: Journal) -> None:
    for msg in bus.listen(timeout_s=_TURN_S, poll_interval_s=0.5):
        journal.write("got", key=msg.body, id=msg.id)
        if _over.is_set():
            return


def loop(bus: BusClient, journal: Journal) -> None:
    async def run() -> None:
        async for msg in bus.subscribe(timeout_s=_TURN_S, poll_interval_s=0.5):
            journal.write("got", key=msg.body, id=msg.id)
            if _over.is_set():
                return

    asyncio.run(run())


def take_manually(bus: BusClient, journal: Journal) -> None:
    for msg in bus.listen(ack="manual", lease_s=LEASE_S, timeout_s=_TURN_S, poll_interval_s=0.5):
        journal.write("got", key=msg.body, id=msg.id)
        try:
            bus.ack(msg.id)
        except (LeaseLostError, DeliveryError):
            journal.write("refused", key=msg.body)
        else:
            journal.write("acked", key=msg.body)
        if _over.is_set():
            return


def take_exactly(bus: BusClient, journal: Journal) -> None:
    for msg in bus.claim(max=5, lease_s=LEASE_S):
        journal.write("got", key=msg.body, id=msg.id)
        try:
            with bus.transaction() as tx:
                tx.ack(msg.id)
                tx.execute("INSERT INTO exact_keys (key) VALUES (?)", (msg.body,))
        except (LeaseLostError, DeliveryError):
            journal.write("refused", key=msg.body)
    _over.wait(_GAP_S)


PARTS: dict[str, Callable[[BusClient, Journal], None]] = {
    "producer": produce,
    "auto": take,
    "loop": loop,
    "manual": take_manually,
    "exact": take_exactly,
}


def _await_end() -> None:
    sys.stdin.readline()
    _over.set()


def main() -> None:
    part, db, folder, name = sys.argv[1:]
    journal = Journal(Path(folder), name)
    bus = BusClient.at(address(part), db, busy_timeout_s=_BUSY_TIMEOUT_S, max_attempts=1000, register=False)
    threading.Thread(target=_await_end, daemon=True).start()
    print(f"{part} is ready", flush=True)
    while not _over.is_set():
        try:
            PARTS[part](bus, journal)
        except BusyError:
            journal.write("busy")
    bus.close()


if __name__ == "__main__":
    main()
