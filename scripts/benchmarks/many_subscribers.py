"""Subscribers: processes that wait for messages and report the ids and latencies of the messages they took."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from raven import BusClient
from scripts.harness.program import Program

# A hundred interpreters need this time to start on two busy cores.
_DEADLINE_S = 120
_POLL_S = 0.1
_TEXT = "x" * 160


class Received(NamedTuple):
    """The messages that one subscriber took since its last report."""

    latencies_ms: list[float]
    ids: list[int]


class Subscribers:
    """`count` subscriber processes of one bus, `worker-0:bench` and so on; inside the `with` block all of them wait."""

    def __init__(self, db: Path, count: int) -> None:
        self.bus = BusClient("bench", "sender", str(db))
        self.addresses = [f"worker-{number}:bench" for number in range(count)]
        self._db = str(db)
        self._ending = ExitStack()
        self._programs: list[Program] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.bus)
            for address in self.addresses:
                self._programs.append(stack.enter_context(Program("benchmarks.subscriber", self._db, address)))
            deadline = time.monotonic() + _DEADLINE_S
            while sum(peer.waiting for peer in self.bus.peers()) < len(self.addresses):
                self._check(deadline)
                time.sleep(_POLL_S)
            self._ending = stack.pop_all()
        return self

    def send(self, address: str) -> int:
        """Send the time to one subscriber, and return the message's id."""
        return self.bus.send(address, "tick", {"sent_ns": time.monotonic_ns(), "text": _TEXT}).id

    def finish(self) -> None:
        """Wait until all messages are acked, without a message that wakes a subscriber."""
        deadline = time.monotonic() + _DEADLINE_S
        while any(peer.pending for peer in self.bus.peers()):
            self._check(deadline)
            time.sleep(_POLL_S)

    def report(self) -> list[Received]:
        """Return the messages that each subscriber took since the last report."""
        self.bus.send(self.addresses, "report", urgency="fyi")
        return [Received(**json.loads(program.line(_DEADLINE_S))) for program in self._programs]

    def cpu_s(self) -> list[float]:
        """Return the CPU time that each subscriber has used so far."""
        return [program.cpu_s() for program in self._programs]

    def _check(self, deadline: float) -> None:
        if any(program.has_ended for program in self._programs):
            raise RuntimeError("a subscriber has ended")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(self.addresses)} subscribers were not ready within {_DEADLINE_S} s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.close()
