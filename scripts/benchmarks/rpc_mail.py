"""Deliveries by the server: its wake-up, the cost of waiting connections, and its memory if a reader stalls."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from socket import socket

from raven import BusClient
from scripts.benchmarks.idle import cpu_percent
from scripts.benchmarks.interleave import interleave, merge_rounds, percentiles
from scripts.benchmarks.metric import Metric, at_most, less_than
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER
from scripts.benchmarks.server_process import ServerProcess, wait_for_response
from scripts.benchmarks.wake import wakes_ms
from scripts.harness.line import request

_IDLE = 200
_BACKLOG = 100_000


def run_wake(folder: Path, quick: bool) -> list[Metric]:
    """Time a message from the send of a direct Python client to its line at a subscriber on the socket."""
    with ServerProcess(folder) as server, BusClient.at(SENDER, server.db) as bus, server.connect() as line:
        _ask(line, "subscribe", {"role": RECIPIENT})
        times = interleave(
            {"raven": partial(wakes_ms, bus, lambda message: wait_for_response(line))}, 5 if quick else 20
        )
    (middle,), (slow,) = percentiles(times, 50, "ms"), percentiles(merge_rounds(times), 99, "ms")
    name = "server: wake of a subscriber on the socket:"
    return [
        Metric.of(f"{name} p50", middle.values, "ms", at_most(1)),
        Metric.of(f"{name} p99", slow.values, "ms"),
    ]


def run_idle(folder: Path, quick: bool) -> list[Metric]:
    """Measure connections that wait for messages on an idle bus."""
    rounds, seconds = (3, 3.0) if quick else (3, 10.0)
    shares = []
    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(folder))
        for number in range(_IDLE):
            _ask(stack.enter_context(server.connect()), "subscribe", {"role": f"worker-{number}:bench"})
        time.sleep(2)  # excludes the start
        for _ in range(rounds):
            shares += cpu_percent(lambda: [server.cpu_s()], seconds)
        memory = server.memory_mib()
    name = f"server: {_IDLE} subscribed connections, nothing happening:"
    return [
        Metric.of(f"{name} CPU", shares, "%", at_most(1.5)),
        Metric.of(f"{name} memory", [memory], "MiB", at_most(120)),
    ]


def run_stall(folder: Path, quick: bool) -> list[Metric]:
    """Measure the memory while a subscriber with a long backlog reads nothing."""
    with ServerProcess(folder) as server, BusClient.at(SENDER, server.db) as bus, server.connect() as line:
        message = {"to": RECIPIENT, "type": "work", "body": BODY}
        for _ in range(_BACKLOG // 1000):
            bus.send_many([message] * 1000)
        _ask(line, "ping", {})
        before = peak = server.memory_mib()
        line.sendall(request("subscribe", {"role": RECIPIENT, "window": 10_000}, 2))
        for _ in range(20 if quick else 100):
            time.sleep(0.1)
            peak = max(peak, server.memory_mib())
        pending = next(peer.pending for peer in bus.peers() if peer.address == RECIPIENT)
    name = f"server: growth of its memory while a reader of {_BACKLOG:,} stalls"
    return [
        Metric.of(name, [peak - before], "MiB", less_than(20), note=f"{pending:,} messages were still in the store")
    ]


def _ask(line: socket, method: str, params: dict[str, str]) -> None:
    line.sendall(request(method, params, 1))
    if b'"error"' in wait_for_response(line):
        raise RuntimeError(f"the server refuses {method}")
