"""A writer without raven: `INSERT INTO outbox` by the sqlite3 program, to its delivery."""

from __future__ import annotations

import shutil
import subprocess
import time
from itertools import chain
from pathlib import Path

from scripts.benchmarks.crowd import Crowd
from scripts.benchmarks.figure import Figure, at_most, percentile

_INSERT = (
    "INSERT INTO outbox (sender, recipient, type, body) VALUES ('shell:bench', '{}', 'tick', '{{\"sent_ns\":{}}}');\n"
)
_COUNT = 10


def run(folder: Path, quick: bool) -> list[Figure]:
    program = shutil.which("sqlite3")
    what = "INSERT INTO outbox by the sqlite3 program, to its delivery"
    if program is None:
        return [Figure(f"{what}: not measured", 0, "ms", 0, 0, note="the sqlite3 program is not installed here")]
    db = folder / "bus.db"
    with Crowd(db, 1) as crowd, _shell(program, db) as shell:
        try:
            found = [_latencies_ms(crowd, shell) for _ in range(3 if quick else 6)]
        finally:
            shell.kill()
    return [
        Figure.of(f"{what}, p50", [percentile(some, 50) for some in found], "ms"),
        Figure.of(f"{what}, p95", [percentile(list(chain.from_iterable(found)), 95)], "ms", at_most(100)),
    ]


def _shell(program: str, db: Path) -> subprocess.Popen[str]:
    # By itself it gives up at the first lock that it meets.
    return subprocess.Popen([program, "-cmd", ".timeout 5000", str(db)], stdin=subprocess.PIPE, text=True)


def _latencies_ms(crowd: Crowd, shell: subprocess.Popen[str]) -> list[float]:
    assert shell.stdin is not None
    last = crowd.bus.last_id() + _COUNT
    for _ in range(_COUNT):
        time.sleep(0.2)
        shell.stdin.write(_INSERT.format(crowd.addresses[0], time.monotonic_ns()))
        shell.stdin.flush()
    deadline = time.monotonic() + 10
    while crowd.bus.last_id() < last:
        if time.monotonic() > deadline:
            raise TimeoutError("the sqlite3 program did not write")
        time.sleep(0.01)
    crowd.finish()
    return crowd.report()[0].latencies_ms
