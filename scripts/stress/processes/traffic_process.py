"""Send or receive in the background of the processes trial: `... traffic_process PART DB FOLDER NAME`.

It runs until a line comes in, and writes the journal NAME in the folder. `producer` sends to the addresses of the other
parts. `auto` receives with `listen` and `loop` with `subscribe`, `manual` acks each message, and `exact` acks each and
inserts its effect in one transaction.
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

# The mode of each receiving part.
RECEIVERS = {"auto": "auto", "loop": "auto", "manual": "manual", "exact": "transaction"}
LEASE_S = 1.0
_BUSY_TIMEOUT_S = 0.5
_GAP_S = 0.004
_LOOP_S = 0.3
_MANY_ATTEMPTS = 1000
_PREFETCH = 50
_stop = threading.Event()


def address(part: str) -> str:
    """Return the address of a receiving part."""
    return f"{part}:traffic"


def produce(bus: BusClient, recorder: CallRecorder) -> None:
    parts, number = list(RECEIVERS), 0
    while not _stop.wait(_GAP_S):
        number += 1
        to, body = address(parts[number % len(parts)]), {"token": f"{recorder.process}-{number}"}
        recorder.send(bus, {"to": to, "type": "work", "body": body, "max_attempts": _MANY_ATTEMPTS})


def receive(bus: BusClient, recorder: CallRecorder) -> None:
    for _ in recorder.each(bus.listen(timeout_s=_LOOP_S, poll_interval_s=0.5)):
        if _stop.is_set():
            return


def loop(bus: BusClient, recorder: CallRecorder) -> None:
    async def run() -> None:
        recorder.journal.write("asking")
        async for message in bus.subscribe(timeout_s=_LOOP_S, poll_interval_s=0.5):
            recorder.received(message)
            if _stop.is_set():
                return
            recorder.journal.write("asking")

    asyncio.run(run())


def receive_manually(bus: BusClient, recorder: CallRecorder) -> None:
    for message in recorder.each(bus.listen(ack="manual", lease_s=LEASE_S, timeout_s=_LOOP_S, poll_interval_s=0.5)):
        recorder.ack(bus, message)
        if _stop.is_set():
            return


def receive_in_transactions(bus: BusClient, recorder: CallRecorder) -> None:
    recorder.journal.write("asking")
    for message in bus.claim(max=5, lease_s=LEASE_S):
        recorder.received(message)

        def commit(id: int = message.id) -> None:
            with bus.transaction() as tx:
                tx.ack(id)
                tx.execute(ADD_EFFECT, (id, recorder.process))

        recorder.call("acking", "acked", commit, id=message.id, lease=message.lease)
    _stop.wait(_GAP_S)


PARTS: dict[str, Callable[[BusClient, CallRecorder], None]] = {
    "producer": produce,
    "auto": receive,
    "loop": loop,
    "manual": receive_manually,
    "exact": receive_in_transactions,
}


def _await_end() -> None:
    sys.stdin.readline()
    _stop.set()


def main() -> None:
    part, db, folder, name = sys.argv[1:]
    recorder = CallRecorder(Journal(Path(folder), name))
    bus = BusClient.at(address(part), db, busy_timeout_s=_BUSY_TIMEOUT_S, max_attempts=_MANY_ATTEMPTS, register=False)
    threading.Thread(target=_await_end, daemon=True).start()
    print(f"{part} is ready", flush=True)
    while not _stop.is_set():
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
