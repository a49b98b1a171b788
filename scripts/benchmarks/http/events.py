"""Event streams: from a send in another process to its event, and the cost of streams on an idle bus."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from raven import BusClient
from scripts.benchmarks.http.client import EventStream
from scripts.benchmarks.http.process import HttpServer
from scripts.benchmarks.idle import cpu_percent
from scripts.benchmarks.interleave import interleave, merge_rounds, percentiles
from scripts.benchmarks.metric import Metric, at_most
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER
from scripts.benchmarks.wake import wakes_ms

_IDLE = 200


def run_wake(folder: Path, quick: bool) -> list[Metric]:
    """Time a message from the send of a direct Python client to its event in the hands of an HTTP client."""
    with (
        HttpServer(folder) as server,
        BusClient.at(SENDER, server.db) as bus,
        server.endpoint.connect() as connection,
    ):
        stream = EventStream(connection, server.endpoint.get("/events?kinds=message"))
        times = interleave(
            {"raven": partial(wakes_ms, bus, lambda message: stream.wait_for(message.id))}, 5 if quick else 20
        )
    (middle,), (slow,) = percentiles(times, 50, "ms"), percentiles(merge_rounds(times), 99, "ms")
    name = "HTTP: send by another process to its event at a viewer:"
    return [
        Metric.of(f"{name} p50", middle.values, "ms", at_most(3)),
        Metric.of(f"{name} p99", slow.values, "ms"),
    ]


def run_idle(folder: Path, quick: bool) -> list[Metric]:
    """Measure streams of all kinds of events on an idle bus."""
    rounds, seconds = (3, 3.0) if quick else (3, 10.0)
    shares = []
    with ExitStack() as stack:
        server = stack.enter_context(HttpServer(folder))
        bus = stack.enter_context(BusClient.at(SENDER, server.db))
        request = server.endpoint.get("/events")
        streams = [EventStream(stack.enter_context(server.endpoint.connect()), request) for _ in range(_IDLE)]
        message = bus.send(RECIPIENT, "work", BODY)
        for stream in streams:
            stream.wait_for(message.id)
        time.sleep(2)  # excludes the start, and the events of that message
        for _ in range(rounds):
            shares += cpu_percent(lambda: [server.cpu_s()], seconds)
        memory = server.memory_mib()
    name = f"HTTP: {_IDLE} event streams, nothing happening:"
    return [
        Metric.of(f"{name} CPU", shares, "%", at_most(1.5)),
        Metric.of(f"{name} memory", [memory], "MiB", at_most(120)),
    ]
