"""Many viewers, slow ones, the log that they need, and the end of the server."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from raven.client import BusClient
from scripts.harness.deadline import Limit
from tests.event_stream import EventStream
from tests.http.events.conftest import ServedBridge
from tests.http_bridge import BridgeHere
from tests.processes import needs_proc
from tests.support import Foreign, wait_until

MAIL = "?kinds=message,receipt"
_BATCH, _BATCHES = 200, 20
_MAX_GROWTH_MIB = 48


@needs_proc
@pytest.mark.process
def test_a_viewer_that_does_not_read_holds_back_no_other_and_misses_nothing(served: ServedBridge, db: str) -> None:
    with (
        EventStream(served.port, MAIL) as deaf,
        EventStream(served.port, MAIL) as other,
        BusClient.at("boss:s", db) as boss,
    ):
        for stream in (deaf, other):
            stream.wait_for_id()
        before = served.memory_mib()
        seen = []
        for _ in range(_BATCHES):
            boss.send_many([{"to": "worker:s", "type": "job", "body": "x" * 4096}] * _BATCH)
            seen += [event.data["id"] for event in other.take(_BATCH)]
        growth = served.memory_mib() - before

        assert seen == list(range(1, _BATCH * _BATCHES + 1))
        assert growth < _MAX_GROWTH_MIB, f"{_BATCH * _BATCHES * 4 // 1024} MiB were sent"
        assert [event.data["id"] for event in deaf.take(len(seen))] == seen


def test_five_hundred_viewers_get_the_same_event(
    bridge: Callable[..., BridgeHere], connect: Callable[..., BusClient]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3000:
        pytest.skip("too few descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        served = bridge(max_streams=500)
        streams = [stack.enter_context(EventStream(served.port, MAIL)) for _ in range(500)]
        for stream in streams:
            stream.wait_for_id()

        connect("boss:s").send("worker:s", "job", "for all")
        connect("worker:s").inbox()

        for stream in streams:
            message, receipt = stream.take(2)
            assert (message.data["body"], receipt.data["state"]) == ("for all", "delivered")
        assert "\nraven_http_streams 500\n" in served.get("/metrics").text


@pytest.mark.process
def test_the_end_of_the_server_ends_each_stream_at_once_and_the_next_goes_on(served: ServedBridge, db: str) -> None:
    with ExitStack() as stack:
        boss = stack.enter_context(BusClient.at("boss:s", db))
        idle, deaf = (stack.enter_context(EventStream(served.port, MAIL)) for _ in range(2))
        for stream in (idle, deaf):
            stream.wait_for_id()
        boss.send_many([{"to": "worker:s", "type": "job", "body": "x" * 200_000}] * 30)
        events = idle.take(30)
        began = time.monotonic()

        assert served.stop() == 0

        assert time.monotonic() - began < Limit(10)
        assert list(idle) == []
        boss.send("worker:s", "late")
        served.start()
        resumed = stack.enter_context(EventStream(served.port, MAIL, f"Last-Event-ID: {events[-1].id}"))
        assert [event.data["type"] for event in resumed.take(1)] == ["late"]
        assert "Traceback" not in served.log()


def test_viewers_keep_the_log_and_a_stream_that_it_left_goes_on(
    open_stream: Callable[..., EventStream],
    connect: Callable[..., BusClient],
    foreign: Foreign,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raven_http.events.hub._RENEW_S", 0)
    connect("boss:s").send("worker:s", "job")
    stream = open_stream()
    until = "FROM meta WHERE key = 'change_log_until'"
    end = int(foreign.value(f"SELECT value {until}"))
    foreign.execute("UPDATE meta SET value = value - 80000000000 WHERE key = 'change_log_until'")
    wait_until(lambda: int(foreign.value(f"SELECT value {until}")) >= end, "the server to put off the end")

    foreign.execute("UPDATE meta SET value = 0 WHERE key = 'change_log_until'")
    foreign.execute("DROP TRIGGER delivery_changed")
    reset = stream.take(1)[0]
    stream.wait_for_id()
    connect("worker:s").claim()

    assert (reset.name, stream.take(1)[0].name) == ("reset", "receipt")
