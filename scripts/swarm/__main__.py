"""Start the swarm on a fresh bus, wait for it to end by itself, and say how many messages went through and how fast."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from raven import BusObserver

PYTHON_REVIEWERS = 3
_DEADLINE_S = 120


def main(bus: str) -> int:
    path = Path(bus).absolute()
    if path.exists():
        # Only a bus is replaced; anything else of that name is refused.
        BusObserver(str(path)).close()
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")
    with ExitStack() as running:
        swarm = [running.enter_context(process) for process in _start(str(path))]
        running.callback(lambda: [process.kill() for process in swarm])
        codes = [process.wait(_DEADLINE_S) for process in swarm]
    _report(str(path), len(swarm))
    return max(map(abs, codes))


def _start(bus: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start every agent with the bus in RAVEN_DB and the `raven` of this environment on the PATH."""
    here = Path(__file__).parent
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "RAVEN_DB": bus, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    reviewers = str(PYTHON_REVIEWERS + 1)
    programs = [
        [sys.executable, "-m", "scripts.swarm.editor"],
        *[[sys.executable, "-m", "scripts.swarm.reviewer"]] * PYTHON_REVIEWERS,
        ["sh", str(here / "reviewer.sh")],
        [sys.executable, "-m", "scripts.swarm.conductor", reviewers],
    ]
    for program in programs:
        yield subprocess.Popen(program, env=environment)


def _report(bus: str, processes: int) -> None:
    with BusObserver(bus) as observer:
        messages = list(observer.tail(follow=False))
    spent = (messages[-1].created_at - messages[0].created_at).total_seconds()
    waits = [(m.delivered_at - m.created_at).total_seconds() * 1000 for m in messages if m.delivered_at]
    rate = len(messages) / spent
    wait = statistics.median(waits)
    print(f"\n{len(messages)} messages among {processes} processes in {spent:.2f} s: {rate:.0f} a second,")
    print(f"each in hand {wait:.1f} ms after it was sent (median; most waited for a free reviewer).")
    print(f"The bus is still there. Look at it: .venv/bin/raven tail --no-follow --db {os.path.relpath(bus)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
