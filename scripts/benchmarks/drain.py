"""A backlog, drained at most once: by one process with `subscribe()`, by four on one address, and with `listen()`."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

from raven import BusClient
from scripts.benchmarks.drain_worker import STOP, DrainResult
from scripts.benchmarks.interleave import interleave_sides
from scripts.benchmarks.metric import Metric, at_least, at_most
from scripts.benchmarks.process_group import ProcessGroup
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER

_CHUNK = 1000
_MANY = 4


class Backlogs:
    """Backlogs of `count` messages, each in its own file; `wrong` counts duplicated and lost messages."""

    def __init__(self, folder: Path, count: int) -> None:
        self._files = (folder / f"{number}.db" for number in itertools.count())
        self._count = count
        self.wrong = 0

    def rate(self, method: str, processes: int) -> float:
        """Drain one backlog by processes that are ready, and return their total rate in messages/s."""
        db = str(next(self._files))
        with ProcessGroup([("drain_worker", method, db, RECIPIENT)] * processes) as group:
            sent = self._send(db, processes)
            group.start()
            reports = [DrainResult(**report) for report in group.reports()]
        received = Counter(id for report in reports for id in report.ids)
        self.wrong += (received - sent).total() + (sent - received).total()
        return self._count / (max(report.last_s for report in reports) - min(report.first_s for report in reports))

    def _send(self, db: str, processes: int) -> Counter[int]:
        """Send a backlog and a stop message for each process; returns how often each id must arrive."""
        message = {"to": RECIPIENT, "type": "work", "body": BODY}
        with BusClient.at(SENDER, db) as bus:
            sent = Counter(one.id for _ in range(self._count // _CHUNK) for one in bus.send_many([message] * _CHUNK))
            bus.send_many([{"to": RECIPIENT, "type": STOP, "urgency": "fyi"}] * processes)
        return sent


def run(folder: Path, quick: bool) -> list[Metric]:
    rounds, count = (3, 5_000) if quick else (5, 20_000)
    backlogs = Backlogs(folder, count)
    one, four, listening = interleave_sides(
        {
            "one process": lambda: backlogs.rate("subscribe", 1),
            "four processes": lambda: backlogs.rate("subscribe", _MANY),
            "listen()": lambda: backlogs.rate("listen", 1),
        },
        rounds,
        "messages/s",
    ).values()
    name = f"a backlog of {count:,}"
    return [
        Metric.of(f"{name}, drained by subscribe() in one process", one.values, one.unit, at_least(10_000)),
        Metric.ratio(f"{name}, by four processes on one address against one", four, one, at_least(1)),
        Metric.of(f"{name}, by one and by four: duplicated or lost", [backlogs.wrong], "messages", at_most(0)),
        Metric.of(f"{name}, drained by listen() in one process", listening.values, listening.unit),
    ]
