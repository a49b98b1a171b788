"""Load: messages at a steady rate to random ones of a crowd, what became of them and what they cost."""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple, Self

from scripts.benchmarks.crowd import Crowd
from scripts.benchmarks.idle import cpu_percent

RATE = 500
_WARM_UPS = 200
_IDLE_S = 3


class Load(NamedTuple):
    """One round: the wakes, how many messages were lost or duplicated, and CPU time.

    That is what whole processes have used from the first send to the last message taken, WAL watch and ticks included:
    per message in the sender and in the crowd, and that of the crowd in percent of one core, then and while idle.
    """

    latencies_ms: list[float]
    wrong: int
    sender_us: float
    crowd_us: float
    busy_percent: float
    idle_percent: float

    @classmethod
    def measure(cls, folder: Path, count: int, seconds: float) -> Self:
        """Start a crowd on a bus of its own, let it warm up, and send for so many seconds."""
        chance = random.Random(1)
        with tempfile.TemporaryDirectory(dir=folder) as place, Crowd(Path(place) / "bus.db", count) as crowd:
            _send(crowd, [crowd.addresses[number % count] for number in range(_WARM_UPS)])
            crowd.finish()
            crowd.report()
            targets = chance.choices(crowd.addresses, k=int(seconds * RATE))
            begin, before, own_before = time.monotonic(), sum(crowd.cpu_s()), time.process_time()
            sent = _send(crowd, targets)
            crowd.bus.wait_receipt(sent[-1], state="acked", timeout_s=30)
            own, used = time.process_time() - own_before, sum(crowd.cpu_s()) - before
            elapsed = time.monotonic() - begin
            crowd.finish()
            reports = crowd.report()
            time.sleep(1)  # to write the WAL back is not idling
            idle = sum(cpu_percent(crowd, _IDLE_S))
        latencies = [latency for report in reports for latency in report.latencies_ms]
        got = Counter(id for report in reports for id in report.ids)
        return cls(
            latencies_ms=latencies,
            wrong=sum(got[id] != 1 for id in sent),
            sender_us=own / len(sent) * 1e6,
            crowd_us=used / len(sent) * 1e6,
            busy_percent=100 * used / elapsed,
            idle_percent=idle,
        )

    @property
    def cost_us(self) -> float:
        """The CPU time of all processes per message."""
        return self.sender_us + self.crowd_us

    @property
    def idle_us(self) -> float:
        """What the crowd would have used without any message, shared out among so many messages."""
        return self.idle_percent / 100 / RATE * 1e6


def _send(crowd: Crowd, targets: list[str]) -> list[int]:
    begin = time.monotonic()
    ids = []
    for number, target in enumerate(targets):
        time.sleep(max(0.0, begin + number / RATE - time.monotonic()))
        ids.append(crowd.send(target))
    return ids
