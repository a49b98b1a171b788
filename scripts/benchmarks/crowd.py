"""Crowd: subscriber processes that are started, known to be waiting, and asked in the end for what they saw."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from raven import BusClient

_DEADLINE_S = 60


class Crowd:
    """`count` subscriber processes of one bus, `worker-0:bench` and so on; entered, all of them wait."""

    def __init__(self, db: Path, count: int) -> None:
        self.bus = BusClient("bench", "sender", str(db))
        self.addresses = [f"worker-{number}:bench" for number in range(count)]
        self._db = db
        self.processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        program = [sys.executable, "-m", "scripts.benchmarks.subscriber", str(self._db)]
        for address in self.addresses:
            self.processes.append(subprocess.Popen([*program, address], stdout=subprocess.PIPE, text=True))
        deadline = time.monotonic() + _DEADLINE_S
        while sum(peer.waiting for peer in self.bus.peers()) < len(self.addresses):
            if time.monotonic() > deadline:
                raise TimeoutError("the subscribers did not start in time")
            time.sleep(0.05)
        return self

    def send(self, address: str) -> int:
        """Send the time to one subscriber and return the message's id."""
        return self.bus.send(address, "tick", {"sent_ns": time.monotonic_ns()}).id

    def start(self) -> None:
        """Let every subscriber count its CPU time from here."""
        self.bus.send(self.addresses, "start")

    def stop(self) -> list[dict[str, Any]]:
        """End all subscribers and return their reports."""
        self.bus.send(self.addresses, "stop", urgency="fyi")
        return [json.loads(process.communicate(timeout=_DEADLINE_S)[0]) for process in self.processes]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.bus.close()
