"""Requests to the helper: the round trip of one client, and what eight get committed that pipeline theirs."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

from scripts.benchmarks.figure import Figure, at_least, at_most, percentile
from scripts.benchmarks.rounds import alternate
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER
from scripts.benchmarks.served import Served, wait_for_answer
from scripts.benchmarks.team import Team
from scripts.harness.line import request

_PARAMS = {"from": SENDER, "to": RECIPIENT, "type": "work", "body": BODY}
_CLIENTS = 8


def run_trip(folder: Path, quick: bool) -> list[Figure]:
    """One client, one request after the other, against a bare asyncio server that echoes the same lines."""
    rounds, batch = (8, 200) if quick else (20, 500)
    send, ping = request("send", _PARAMS, 1), request("ping", {}, 1)
    with Served(folder) as helper, Served(folder, "echo") as echo, Served(folder, "inserts") as floor:
        sides = alternate(
            {
                "send": partial(_p50_us, helper, send, batch),
                "ping": partial(_p50_us, helper, ping, batch),
                "echo": partial(_p50_us, echo, send, batch),
                "echo with inserts": partial(_p50_us, floor, send, batch),
            },
            rounds,
            "us",
        )
    return [
        Figure.ratio(
            "server: round trip of send against a bare asyncio echo, p50", sides["send"], sides["echo"], at_most(3)
        ),
        Figure.ratio("server: round trip of ping against the same, p50", sides["ping"], sides["echo"]),
        Figure.ratio(
            "an echo that first makes a send's inserts in bare apsw, against the same, p50",
            sides["echo with inserts"],
            sides["echo"],
            note="the lower limit of a server on asyncio and SQLite",
        ),
        Figure.ratio("server: round trip of send against that, p50", sides["send"], sides["echo with inserts"]),
    ]


def run_group(folder: Path, quick: bool) -> list[Figure]:
    """Eight client processes that pipeline sends, with group commit and without."""
    rounds, count = (3, 1000) if quick else (7, 2000)
    with Served(folder) as helper, Served(folder, "alone") as loner:
        sides = alternate(
            {"grouped": partial(_rate, helper, count), "a commit each": partial(_rate, loner, count)},
            rounds,
            "requests/s",
        )
    grouped, alone = sides.values()
    what = f"server: {_CLIENTS} clients that pipeline sends:"
    return [
        Figure.of(f"{what} committed", grouped.values, "requests/s", at_least(6000)),
        Figure.ratio(f"{what} against no group commit", grouped, alone, at_least(2)),
    ]


def _p50_us(served: Served, line: bytes, count: int) -> float:
    times = []
    with served.connect() as connection:
        for _ in range(count):
            begin = time.perf_counter()
            connection.sendall(line)
            answer = wait_for_answer(connection)
            times.append((time.perf_counter() - begin) * 1e6)
            if b'"error"' in answer:
                raise RuntimeError(f"the helper answered {answer.decode()}")
    return percentile(times, 50)


def _rate(served: Served, count: int) -> float:
    """Let all clients send `count` messages each, and return how many were committed per second together."""
    client = ("pipeliner", served.path, str(count), json.dumps(_PARAMS))
    with Team([client] * _CLIENTS) as team:
        team.go()
        spans = team.reports()
    elapsed: float = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return _CLIENTS * count / elapsed
