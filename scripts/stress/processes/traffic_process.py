"""Play a part in the load of the processes trial: `... crew PART DB FOLDER NAME`, until a line comes in.

What it does is noted in the journal NAME of the folder. `producer` sends to the addresses of the other parts; `auto`
and `loop` take their mail with `listen` and `subscribe`, `manual` acks each message, and `exact` notes each in a table,
in the same transaction.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from raven import BusClient, BusyError
from scripts.stress.history.call_recorder import ADD_EFFECT, CallRecorder
from scripts.stress.history.journal import Journal

# How the mail of each address is taken.
RECEIVERS = {"auto": "auto", "loop": "auto", "manual": "manual", "exact": "transaction"}
LEASE_S = 1.0
_BUSY_TIMEOUT_S = 0.5
_GAP_S = 0.004
_TURN_S = 0.3
_MANY_ATTEMPTS = 1000
_PREFETCH = 50
_over = threading.Event()


def address(part: str) -> str:
    """Return the address at which a part receives."""
    return f"{part}:crew"


def produce(bus: BusClient, recorder: CallRecorder) -> None:
    parts, number = list(RECEIVERS), 0
    while not _over.wait(_GAP_S):
        number += 1
        to, body = address(parts[number % len(parts)]), {"token": f"{recorder.process}-{number}"}
        recorder.send(bus, {"to": to, "type": "work", "body": body, "max_attempts": _MANY_ATTEMPTS})


def take(bus: BusClient, recorder: CallRecorder) -> None:
    for _ in recorder.each(bus.listen(timeout_s=_TURN_S, poll_interval_s=0.5)):
        if _over.is_set():
            return


def loop(bus: BusClient, recorder: CallRecorder) -> None:
    async def run() -> None:
        recorder.journal.write("asking")
        async for message in bus.subscribe(timeout_s=_TURN_S, poll_interval_s=0.5):
            recorder.received(message)
            if _over.is_set():
                return
            recorder.journal.write("asking")

    asyncio.run(run())


def take_manually(bus: BusClient, recorder: CallRecorder) -> None:
    for message in recorder.each(bus.listen(ack="manual", lease_s=LEASE_S, timeout_s=_TURN_S, poll_interval_s=0.5)):
        recorder.ack(bus, message)
        if _over.is_set():
            return


def take_exactly(bus: BusClient, recorder: CallRecorder) -> None:
    recorder.journal.write("asking")
    for message in bus.claim(max=5, lease_s=LEASE_S):
        recorder.received(message)

        def commit(id: int = message.id) -> None:
            with bus.transaction() as tx:
                tx.ack(id)
                tx.execute(ADD_EFFECT, (id, recorder.process))

        recorder.call("acking", "acked", commit, id=message.id, lease=message.lease)
    _over.wait(_GAP_S)


PARTS: dict[str, Callable[[BusClient, CallRecorder], None]] = {
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
    recorder = CallRecorder(Journal(Path(folder), name))
    bus = BusClient.at(address(part), db, busy_timeout_s=_BUSY_TIMEOUT_S, max_attempts=_MANY_ATTEMPTS, register=False)
    threading.Thread(target=_await_end, daemon=True).start()
    print(f"{part} is ready", flush=True)
    while not _over.is_set():
        try:
            if part in RECEIVERS:
                recorder.consuming(bus.address, RECEIVERS[part], lease_s=LEASE_S, prefetch=_PREFETCH)
            PARTS[part](bus, recorder)
        except BusyError:
            continue
        finally:
            recorder.journal.write("leaving")
    bus.close()


if __name__ == "__main__":
    main()
