"""Traffic: messages at a steady rate to random subscribers, their latencies and their CPU time."""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple, Self

from scripts.benchmarks.idle import cpu_percent
from scripts.benchmarks.many_subscribers import Subscribers

RATE = 500
_WARM_UPS = 200
_IDLE_S = 3


class Traffic(NamedTuple):
    """One round: the latencies, the number of lost or duplicated messages, and CPU time.

    CPU time is that of whole processes, WAL watcher and fallback polls included, from the first send to the last
    delivery. It is given per message, for the sender and for all subscribers, and in percent of one core for all
    subscribers: under traffic, and idle.
    """

    latencies_ms: list[float]
    wrong: int
    sender_us: float
    subscribers_us: float
    busy_percent: float
    idle_percent: float

    @classmethod
    def measure(cls, folder: Path, count: int, seconds: float) -> Self:
        """Start subscribers on a new bus, warm them up, and send for `seconds` seconds."""
        chance = random.Random(1)
        with (
            tempfile.TemporaryDirectory(dir=folder) as temporary,
            Subscribers(Path(temporary) / "bus.db", count) as subscribers,
        ):
            _send(subscribers, [subscribers.addresses[number % count] for number in range(_WARM_UPS)])
            subscribers.finish()
            subscribers.report()
            targets = chance.choices(subscribers.addresses, k=int(seconds * RATE))
            begin, before, own_before = time.monotonic(), sum(subscribers.cpu_s()), time.process_time()
            sent = _send(subscribers, targets)
            subscribers.bus.wait_receipt(sent[-1], state="acked", timeout_s=30)
            sender_s, subscribers_s = time.process_time() - own_before, sum(subscribers.cpu_s()) - before
            elapsed = time.monotonic() - begin
            subscribers.finish()
            reports = subscribers.report()
            time.sleep(1)  # excludes the last checkpoint
            idle = sum(cpu_percent(subscribers.cpu_s, _IDLE_S))
        latencies = [latency for report in reports for latency in report.latencies_ms]
        received = Counter(id for report in reports for id in report.ids)
        return cls(
            latencies_ms=latencies,
            wrong=sum(received[id] != 1 for id in sent),
            sender_us=sender_s / len(sent) * 1e6,
            subscribers_us=subscribers_s / len(sent) * 1e6,
            busy_percent=100 * subscribers_s / elapsed,
            idle_percent=idle,
        )

    @property
    def cost_us(self) -> float:
        """The CPU time of all processes per message."""
        return self.sender_us + self.subscribers_us

    @property
    def idle_us(self) -> float:
        """The CPU time of idle subscribers in the same time, divided by the number of messages."""
        return self.idle_percent / 100 / RATE * 1e6


def _send(subscribers: Subscribers, targets: list[str]) -> list[int]:
    begin = time.monotonic()
    ids = []
    for number, target in enumerate(targets):
        time.sleep(max(0.0, begin + number / RATE - time.monotonic()))
        ids.append(subscribers.send(target))
    return ids
