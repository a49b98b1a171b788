"""Streams whose clients do not read hold bounded memory, and end when others wait for it."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from raven import BusClient
from raven.host import service as service_module
from raven_http.events import viewer as viewer_module
from scripts.harness.deadline import Limit
from tests.http_front import FrontHere
from tests.support import wait_until

LIMIT = 1_000_000
SIZE = 900_000
STREAMS = 30


def test_clients_that_read_nothing_hold_bounded_memory_and_one_that_reads_gets_its_events(
    db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_module, "CROWDED_STALL_S", 0.2)
    monkeypatch.setattr(service_module, "_TICK_S", 0.05)
    with BusClient("s", "planner", db) as planner:
        for _ in range(3):
            planner.send("coder:s", "task", "x" * SIZE)
    served = FrontHere(db, address=f"unix:{db}.http")  # whose buffers in the kernel are small
    unread = served.front._bridge.events.unread
    unread.limit = LIMIT
    try:
        with ExitStack() as stack:
            for _ in range(STREAMS):
                deaf = stack.enter_context(served.connect())
                deaf.write(deaf.request("/events?from=1&kinds=message"))
            wait_until(lambda: unread.held > LIMIT, "the limit")
            most, begin = 0, time.monotonic()
            reader = stack.enter_context(served.connect())
            reader.write(reader.request("/events?from=1&kinds=message", None, "Connection: close"))
            text = b""
            while text.count(b"event: message") < 3 or text.count(b"x") < 3 * SIZE:
                text += reader.socket.recv(1 << 20)
                most = max(most, unread.held)
            assert time.monotonic() - begin < Limit(20)
            assert most < LIMIT + 3 * SIZE  # one step reads a message of any size
        wait_until(lambda: served.counts()[1] == 0 and unread.held == 0, "the streams to end")
    finally:
        served.close()
