"""Requests to the server: the round trip of one client, and the rate of eight clients that pipeline sends."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from scripts.benchmarks.interleave import interleave_sides
from scripts.benchmarks.metric import Metric, at_least, at_most, percentile
from scripts.benchmarks.process_group import ProcessGroup
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER
from scripts.benchmarks.server_process import ServerProcess, wait_for_response
from scripts.harness.line import request

PARAMS = {"from": SENDER, "to": RECIPIENT, "type": "work", "body": BODY}
CLIENTS = 8
# Whether a client sends all its requests at once, or each after the answer to the one before.
Way = Literal["pipelined", "one-by-one"]


def run_round_trip(folder: Path, quick: bool) -> list[Metric]:
    """Measure one client, which sends requests one by one, against a bare asyncio server that echoes the same lines."""
    rounds, batch = (8, 200) if quick else (20, 500)
    send, ping = request("send", PARAMS, 1), request("ping", {}, 1)
    with (
        ServerProcess(folder) as server,
        ServerProcess(folder, "echo") as echo,
        ServerProcess(folder, "inserts") as floor,
    ):
        sides = interleave_sides(
            {
                "send": partial(_p50_us, server, send, batch),
                "ping": partial(_p50_us, server, ping, batch),
                "echo": partial(_p50_us, echo, send, batch),
                "echo with inserts": partial(_p50_us, floor, send, batch),
            },
            rounds,
            "us",
        )
    return [
        Metric.ratio(
            "server: round trip of send against a bare asyncio echo, p50", sides["send"], sides["echo"], at_most(3)
        ),
        Metric.ratio("server: round trip of ping against the same, p50", sides["ping"], sides["echo"]),
        Metric.ratio(
            "an echo that first makes a send's inserts in bare apsw, against the same, p50",
            sides["echo with inserts"],
            sides["echo"],
            note="the lower limit of a server on asyncio and SQLite",
        ),
        Metric.ratio("server: round trip of send against that, p50", sides["send"], sides["echo with inserts"]),
    ]


def run_group(folder: Path, quick: bool) -> list[Metric]:
    """Measure eight client processes that pipeline sends, with group commit and without."""
    rounds, count = (3, 1000) if quick else (7, 2000)
    with ServerProcess(folder) as server, ServerProcess(folder, "alone") as ungrouped:
        sides = interleave_sides(
            {"grouped": partial(rate, server, count), "a commit each": partial(rate, ungrouped, count)},
            rounds,
            "requests/s",
        )
    grouped, alone = sides.values()
    name = f"server: {CLIENTS} clients that pipeline sends:"
    return [
        Metric.of(f"{name} committed", grouped.values, "requests/s", at_least(6000)),
        Metric.ratio(f"{name} against no group commit", grouped, alone, at_least(2)),
    ]


def _p50_us(server: ServerProcess, line: bytes, count: int) -> float:
    times = []
    with server.connect() as connection:
        for _ in range(count):
            begin = time.perf_counter()
            connection.sendall(line)
            response = wait_for_response(connection)
            times.append((time.perf_counter() - begin) * 1e6)
            if b'"error"' in response:
                raise RuntimeError(f"the server responded {response.decode()}")
    return percentile(times, 50)


def rate(server: ServerProcess, count: int, way: Way = "pipelined") -> float:
    """Send `count` messages from each client, and return the total rate of commits per second."""
    client = ("pipeliner", way, server.path, str(count), json.dumps(PARAMS))
    return rate_of([client] * CLIENTS, count)


def rate_of(clients: Sequence[Sequence[str]], count: int) -> float:
    """Run client processes, which report when they began and ended, and return their total rate per second."""
    with ProcessGroup(clients) as group:
        group.start()
        spans = group.reports()
    elapsed: float = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return len(clients) * count / elapsed
