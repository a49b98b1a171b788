"""Play one part while the clock steps, until a line comes: `clocked PART DB OUT`, run by `shifted`.

Each step is noted in the file OUT, a JSON array a line that begins with what happened and the monotonic time. The
process prints a line when it is ready.
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
ASK_S = 4.0
LEASE_S = 2.0
_PAUSE_S = 0.004
_TURN_S = 0.5
_HOLD_S = 0.03
_over = threading.Event()
_out: TextIO


def send(bus: BusClient) -> None:
    """Send to every address in turn: some with a delay, some with a dedup_key and twice, some that expire soon."""
    number = 0
    while not _over.wait(_PAUSE_S):
        number += 1
        to = ADDRESSES[number % len(ADDRESSES)]
        delay = 0.2 if number % 7 == 0 else None
        expires = 5.0 if to == "brief:clock" else None
        key = f"key {number}" if number % 11 == 0 else None
        for _ in range(2 if key else 1):
            sent = bus.send(
                to, "job", number, delay_s=delay, expires_in_s=expires, dedup_key=key, max_attempts=1_000_000
            )
            _note("sent", sent.id, number, to, delay is not None)


def listen(bus: BusClient) -> None:
    """Take what comes at most once."""
    while not _over.is_set():
        for message in bus.listen(timeout_s=_TURN_S, poll_interval_s=POLL_INTERVAL_S):
            _note("received", message.id, message.body, bus.address, message.attempts, time.monotonic())
            if _over.is_set():
                return


def keep(bus: BusClient | Client) -> None:
    """Take what comes at least once, and ack it after a moment."""
    while not _over.is_set():
        asked = time.monotonic()
        for message in bus.listen(ack="manual", lease_s=LEASE_S, timeout_s=_TURN_S, poll_interval_s=POLL_INTERVAL_S):
            _finish(bus, message, asked)
            if _over.is_set():
                return
            asked = time.monotonic()


def claim(bus: BusClient) -> None:
    """Claim some, and ack them one after the other."""
    while not _over.wait(_PAUSE_S):
        asked = time.monotonic()
        for message in bus.claim(3, LEASE_S):
            _finish(bus, message, asked)


def ask(bus: BusClient) -> None:
    """Ask one question after the other, and note how long each answer took."""
    while not _over.wait(_PAUSE_S):
        began, what = time.monotonic(), "answered"
        try:
            bus.request("answer:clock", "question", timeout_s=ASK_S)
        except WaitTimeoutError:
            what = "unanswered"
        _note(what, time.monotonic() - began)


def answer(bus: BusClient) -> None:
    """Answer every question; what a step has let expire while it was in hand is refused, and left."""
    while not _over.is_set():
        for message in bus.listen(timeout_s=_TURN_S):
            with suppress(ExpiredError):
                bus.reply(message, "answer")


def wait(bus: BusClient) -> None:
    """Wait for what never comes, in each way that has a timeout, and note how long that took."""
    never = bus.send("nobody:clock", "job").id

    async def subscribe() -> None:
        async for _ in bus.subscribe(timeout_s=TIMEOUT_S):
            pass

    def receipt() -> None:
        try:
            bus.wait_receipt(never, timeout_s=TIMEOUT_S)
        except WaitTimeoutError:
            return
        raise RuntimeError("what nobody acks was acked")

    ways: dict[str, Callable[[], object]] = {
        "listen": lambda: list(bus.listen(timeout_s=TIMEOUT_S)),
        "subscribe": lambda: asyncio.run(subscribe()),
        "wait_receipt": receipt,
        "tail": lambda: list(bus.tail(bus.last_id() + 1_000_000, timeout_s=TIMEOUT_S)),
    }
    while not _over.is_set():
        for name, way in ways.items():
            began = time.monotonic()
            way()
            _note("waited", name, time.monotonic() - began)


def sleep(bus: BusClient) -> None:
    """Wait for what is delayed for long, without turns, so that nothing but the clock's step makes it look again."""
    for message in bus.listen(poll_interval_s=POLL_INTERVAL_S, timeout_s=3600):
        _note("woke", message.id)


def call(bus: BusClient) -> None:
    """Call what the lines say, `["send", ["worker:s", "note"], {}]`, and print what it came to as JSON."""
    for line in sys.stdin:
        method, arguments, options = json.loads(line)
        print(json.dumps(_shape(getattr(bus, method)(*arguments, **options))), flush=True)


def _shape(value: Any) -> Any:
    if isinstance(value, list):
        return [_shape(one) for one in value]
    return None if value is None else value.as_dict()


def _finish(bus: BusClient | Client, message: Any, asked: float) -> None:
    _note("received", message.id, message.body, bus.address, message.attempts, asked)
    # So that some steps come while a message is in hand.
    _over.wait(_HOLD_S if message.body % 3 == 0 else 0)
    try:
        bus.ack(message.id)
    except LeaseLostError:
        _note("late", message.id)
    else:
        _note("acked", message.id)


def _note(what: str, *told: object) -> None:
    _out.write(json.dumps([what, time.monotonic(), *told]) + "\n")
    _out.flush()


_PARTS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "send": ("sender:clock", send),
    "auto": ("auto:clock", listen),
    "brief": ("brief:clock", listen),
    "manual": ("manual:clock", keep),
    "second": ("manual:clock", keep),
    "claim": ("claim:clock", claim),
    "socket": ("socket:clock", keep),
    "ask": ("asker:clock", ask),
    "answer": ("answer:clock", answer),
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
            threading.Thread(target=lambda: (sys.stdin.readline(), _over.set()), daemon=True).start()
        play(bus)


if __name__ == "__main__":
    main()
