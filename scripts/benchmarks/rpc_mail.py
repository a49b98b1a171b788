"""Mail through the helper: its wake, what waiting connections cost it, and its memory when a reader stalls."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from socket import socket

from raven import BusClient
from scripts.benchmarks.figure import Figure, at_most, less_than
from scripts.benchmarks.rounds import in_turns, percentiles, together
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER
from scripts.benchmarks.served import Served, wait_for_answer
from scripts.harness.line import request

_BATCH = 100
_IDLE = 200
_BACKLOG = 100_000


def run_wake(folder: Path, quick: bool) -> list[Figure]:
    """Time a message from the send of a direct Python client to the line in hand of a subscriber on the socket."""
    with Served(folder) as helper, BusClient.at(SENDER, helper.db) as bus, helper.connect() as line:
        _ask(line, "subscribe", {"role": RECIPIENT})
        found = in_turns({"raven": partial(_wakes_ms, bus, line)}, 5 if quick else 20)
    (middle,), (slow,) = percentiles(found, 50, "ms"), percentiles(together(found), 99, "ms")
    what = "server: wake of a subscriber on the socket:"
    return [
        Figure.of(f"{what} p50", middle.values, "ms", at_most(1)),
        Figure.of(f"{what} p99", slow.values, "ms"),
    ]


def _wakes_ms(bus: BusClient, line: socket) -> list[float]:
    times = []
    for _ in range(_BATCH):
        time.sleep(0.005)
        begin = time.perf_counter()
        bus.send(RECIPIENT, "work", BODY)
        wait_for_answer(line)
        times.append((time.perf_counter() - begin) * 1000)
    return times


def run_idle(folder: Path, quick: bool) -> list[Figure]:
    """Let connections wait for mail that does not come."""
    rounds, seconds = (3, 3.0) if quick else (3, 10.0)
    shares = []
    with ExitStack() as stack:
        helper = stack.enter_context(Served(folder))
        for number in range(_IDLE):
            _ask(stack.enter_context(helper.connect()), "subscribe", {"role": f"worker-{number}:bench"})
        time.sleep(2)  # starting up is not waiting
        for _ in range(rounds):
            begin, before = time.monotonic(), helper.cpu_s()
            time.sleep(seconds)
            shares.append(100 * (helper.cpu_s() - before) / (time.monotonic() - begin))
        memory = helper.memory_mib()
    what = f"server: {_IDLE} subscribed connections, nothing happening:"
    return [
        Figure.of(f"{what} CPU", shares, "%", at_most(1.5)),
        Figure.of(f"{what} memory", [memory], "MiB", at_most(120)),
    ]


def run_stall(folder: Path, quick: bool) -> list[Figure]:
    """Let a subscriber with a long backlog read nothing."""
    with Served(folder) as helper, BusClient.at(SENDER, helper.db) as bus, helper.connect() as line:
        message = {"to": RECIPIENT, "type": "work", "body": BODY}
        for _ in range(_BACKLOG // 1000):
            bus.send_many([message] * 1000)
        _ask(line, "ping", {})
        before = peak = helper.memory_mib()
        line.sendall(request("subscribe", {"role": RECIPIENT, "window": 10_000}, 2))
        for _ in range(20 if quick else 100):
            time.sleep(0.1)
            peak = max(peak, helper.memory_mib())
        waiting = next(peer.pending for peer in bus.peers() if peer.address == RECIPIENT)
    what = f"server: growth of its memory while a reader of {_BACKLOG:,} stalls"
    return [
        Figure.of(what, [peak - before], "MiB", less_than(20), note=f"{waiting:,} messages were still in the store")
    ]


def _ask(line: socket, method: str, params: dict[str, str]) -> None:
    line.sendall(request(method, params, 1))
    if b'"error"' in wait_for_answer(line):
        raise RuntimeError(f"the helper refuses {method}")
