"""A writer without raven: `INSERT INTO outbox` by the sqlite3 program, to its delivery."""

from __future__ import annotations

import shutil
import subprocess
import time
from itertools import chain
from pathlib import Path

from scripts.benchmarks.many_subscribers import Subscribers
from scripts.benchmarks.metric import Metric, at_most, percentile

_INSERT = (
    "INSERT INTO outbox (sender, recipient, type, body) VALUES ('shell:bench', '{}', 'tick', '{{\"sent_ns\":{}}}');\n"
)
_COUNT = 10


def run(folder: Path, quick: bool) -> list[Metric]:
    program = shutil.which("sqlite3")
    name = "INSERT INTO outbox by the sqlite3 program, to its delivery"
    if program is None:
        return [Metric(f"{name}: not measured", 0, "ms", 0, 0, note="the sqlite3 program is not installed here")]
    db = folder / "bus.db"
    with Subscribers(db, 1) as subscribers, _shell(program, db) as shell:
        try:
            rounds = [_latencies_ms(subscribers, shell) for _ in range(3 if quick else 6)]
        finally:
            shell.kill()
    return [
        Metric.of(f"{name}, p50", [percentile(latencies, 50) for latencies in rounds], "ms"),
        Metric.of(f"{name}, p95", [percentile(list(chain.from_iterable(rounds)), 95)], "ms", at_most(100)),
    ]


def _shell(program: str, db: Path) -> subprocess.Popen[str]:
    # Without this timeout the program gives up at the first lock.
    return subprocess.Popen([program, "-cmd", ".timeout 5000", str(db)], stdin=subprocess.PIPE, text=True)


def _latencies_ms(subscribers: Subscribers, shell: subprocess.Popen[str]) -> list[float]:
    assert shell.stdin is not None
    last = subscribers.bus.last_id() + _COUNT
    for _ in range(_COUNT):
        time.sleep(0.2)
        shell.stdin.write(_INSERT.format(subscribers.addresses[0], time.monotonic_ns()))
        shell.stdin.flush()
    deadline = time.monotonic() + 10
    while subscribers.bus.last_id() < last:
        if time.monotonic() > deadline:
            raise TimeoutError("the sqlite3 program did not write")
        time.sleep(0.01)
    subscribers.finish()
    return subscribers.report()[0].latencies_ms
