"""A writer without raven: `INSERT INTO outbox` by the sqlite3 program, to the message in hand."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from scripts.benchmarks.crowd import Crowd
from scripts.benchmarks.result import Result, percentile

_INSERT = (
    "INSERT INTO outbox (sender, recipient, type, body) VALUES ('shell:bench', '{}', 'tick', '{{\"sent_ns\":{}}}');\n"
)


def run(folder: Path, quick: bool) -> list[Result]:
    what = "INSERT INTO outbox by the sqlite3 program"
    program = shutil.which("sqlite3")
    if program is None:
        return [Result(what, "no sqlite3 program here", "p95 at most 100 ms", False)]
    db = folder / "bus.db"
    with Crowd(db, 1) as crowd:
        shell = subprocess.Popen([program, str(db)], stdin=subprocess.PIPE, text=True)
        assert shell.stdin is not None
        for _ in range(30 if quick else 100):
            time.sleep(0.2)
            shell.stdin.write(_INSERT.format(crowd.addresses[0], time.monotonic_ns()))
            shell.stdin.flush()
        time.sleep(0.5)
        shell.stdin.close()
        shell.wait(10)
        latencies = crowd.stop()[0]["latencies_ms"]
    p95 = percentile(latencies, 95)
    figure = f"p50 {percentile(latencies, 50):.0f} ms, p95 {p95:.0f} ms"
    return [Result(what, figure, "p95 at most 100 ms", p95 <= 100)]
