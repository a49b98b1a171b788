"""Run one part of the traffic while the clock steps: `traffic_process PART DB OUT`, run by run_with_offset.py.

It ends at an input line. It writes each event to the file OUT, one JSON array per line that begins with the event type
and the monotonic time. It prints a line when it is ready.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

from raven import BusClient, ExpiredError, LeaseLostError, WaitTimeoutError
from raven_rpc import Client

ADDRESSES = ("auto:clock", "manual:clock", "claim:clock", "socket:clock", "brief:clock")
POLL_INTERVAL_S = 0.5
TIMEOUT_S = 0.3
REQUEST_TIMEOUT_S = 4.0
LEASE_S = 2.0
_PAUSE_S = 0.004
_LOOP_S = 0.5
_HOLD_S = 0.03
_stop = threading.Event()
_out: TextIO


def send(bus: BusClient) -> None:
    """Send to each address in turn: some with a delay, some twice with a dedup_key, some with a short expiry."""
    number = 0
    while not _stop.wait(_PAUSE_S):
        number += 1
        to = ADDRESSES[number % len(ADDRESSES)]
        delay = 0.2 if number % 7 == 0 else None
        expires = 5.0 if to == "brief:clock" else None
        key = f"key {number}" if number % 11 == 0 else None
        for _ in range(2 if key else 1):
            sent = bus.send(
                to, "job", number, delay_s=delay, expires_in_s=expires, dedup_key=key, max_attempts=1_000_000
            )
            _record("sent", sent.id, number, to, delay is not None)


def receive_auto(bus: BusClient) -> None:
    """Receive with automatic acks."""
    while not _stop.is_set():
        for message in bus.listen(timeout_s=_LOOP_S, poll_interval_s=POLL_INTERVAL_S):
            _record("received", message.id, message.body, bus.address, message.attempts, time.monotonic())
            if _stop.is_set():
                return


def receive_manual(bus: BusClient | Client) -> None:
    """Receive with manual acks, and ack each message after a moment."""
    while not _stop.is_set():
        asked = time.monotonic()
        for message in bus.listen(ack="manual", lease_s=LEASE_S, timeout_s=_LOOP_S, poll_interval_s=POLL_INTERVAL_S):
            _ack(bus, message, asked)
            if _stop.is_set():
                return
            asked = time.monotonic()


def claim(bus: BusClient) -> None:
    """Claim several messages, and ack them one by one."""
    while not _stop.wait(_PAUSE_S):
        asked = time.monotonic()
        for message in bus.claim(3, LEASE_S):
            _ack(bus, message, asked)


def request(bus: BusClient) -> None:
    """Send one request after the other, and record the time of each reply."""
    while not _stop.wait(_PAUSE_S):
        began, result = time.monotonic(), "answered"
        try:
            bus.request("replier:clock", "question", timeout_s=REQUEST_TIMEOUT_S)
        except WaitTimeoutError:
            result = "unanswered"
        _record(result, time.monotonic() - began)


def reply(bus: BusClient) -> None:
    """Reply to every request; a request that a step has expired meanwhile is refused, and skipped."""
    while not _stop.is_set():
        for message in bus.listen(timeout_s=_LOOP_S):
            with suppress(ExpiredError):
                bus.reply(message, "answer")


def wait(bus: BusClient) -> None:
    """Wait for events that never come, in each call with a timeout, and record the duration."""
    never = bus.send("unread:clock", "job").id

    async def subscribe() -> None:
        async for _ in bus.subscribe(timeout_s=TIMEOUT_S):
            pass

    def receipt() -> None:
        try:
            bus.wait_receipt(never, timeout_s=TIMEOUT_S)
        except WaitTimeoutError:
            return
        raise RuntimeError("a receipt of an unread message is acked")

    calls: dict[str, Callable[[], object]] = {
        "listen": lambda: list(bus.listen(timeout_s=TIMEOUT_S)),
        "subscribe": lambda: asyncio.run(subscribe()),
        "wait_receipt": receipt,
        "tail": lambda: list(bus.tail(bus.last_id() + 1_000_000, timeout_s=TIMEOUT_S)),
    }
    while not _stop.is_set():
        for name, run in calls.items():
            began = time.monotonic()
            run()
            _record("waited", name, time.monotonic() - began)


def sleep(bus: BusClient) -> None:
    """Wait for messages with long delays in one long call, so that only the step of the clock can wake it."""
    for message in bus.listen(poll_interval_s=POLL_INTERVAL_S, timeout_s=3600):
        _record("woke", message.id)


def call(bus: BusClient) -> None:
    """Call the method of each input line, `["send", ["worker:s", "note"], {}]`, and print its result as JSON."""
    for line in sys.stdin:
        method, arguments, options = json.loads(line)
        print(json.dumps(_to_json(getattr(bus, method)(*arguments, **options))), flush=True)


def _to_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_json(one) for one in value]
    return None if value is None else value.as_dict()


def _ack(bus: BusClient | Client, message: Any, asked: float) -> None:
    _record("received", message.id, message.body, bus.address, message.attempts, asked)
    # So that some steps come while a message is leased.
    _stop.wait(_HOLD_S if message.body % 3 == 0 else 0)
    try:
        bus.ack(message.id)
    except LeaseLostError:
        _record("late", message.id)
    else:
        _record("acked", message.id)


def _record(type: str, *values: object) -> None:
    _out.write(json.dumps([type, time.monotonic(), *values]) + "\n")
    _out.flush()


_PARTS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "send": ("sender:clock", send),
    "auto": ("auto:clock", receive_auto),
    "brief": ("brief:clock", receive_auto),
    "manual": ("manual:clock", receive_manual),
    "second": ("manual:clock", receive_manual),
    "claim": ("claim:clock", claim),
    "socket": ("socket:clock", receive_manual),
    "request": ("requester:clock", request),
    "reply": ("replier:clock", reply),
    "wait": ("waiter:clock", wait),
    "sleep": ("sleeper:clock", sleep),
    "call": ("caller:clock", call),
}


def main() -> None:
    global _out
    part, db, path = sys.argv[1:]
    address, play = _PARTS[part]
    bus = Client(f"{db}.sock", address) if part == "socket" else BusClient.at(address, db)
    with bus, open(path, "a", encoding="utf-8") as _out:
        print("ready", flush=True)
        if part != "call":
            threading.Thread(target=lambda: (sys.stdin.readline(), _stop.set()), daemon=True).start()
        play(bus)


if __name__ == "__main__":
    main()
