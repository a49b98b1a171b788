"""A backlog, drained at most once: by one process with `subscribe()`, by four on one address, and with `listen()`."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

from raven import BusClient
from scripts.benchmarks.drainer import STOP, Taken
from scripts.benchmarks.figure import Figure, at_least, at_most
from scripts.benchmarks.rounds import alternate
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER
from scripts.benchmarks.team import Team

_CHUNK = 1000
_MANY = 4


class Backlogs:
    """Backlogs of `count` messages, each in a file of its own; `wrong` counts what was taken twice, or not at all."""

    def __init__(self, folder: Path, count: int) -> None:
        self._files = (folder / f"{number}.db" for number in itertools.count())
        self._count = count
        self.wrong = 0

    def rate(self, way: str, processes: int) -> float:
        """Let processes that are ready drain one, and return how many messages/s they took together."""
        db = str(next(self._files))
        with Team([("drainer", way, db, RECIPIENT)] * processes) as team:
            sent = self._send(db, processes)
            team.go()
            reports = [Taken(**report) for report in team.reports()]
        taken = Counter(id for report in reports for id in report.ids)
        self.wrong += (taken - sent).total() + (sent - taken).total()
        return self._count / (max(report.last_s for report in reports) - min(report.first_s for report in reports))

    def _send(self, db: str, processes: int) -> Counter[int]:
        """Send a backlog, and behind it for each process what makes it stop; returns how often which id is to come."""
        message = {"to": RECIPIENT, "type": "work", "body": BODY}
        with BusClient.at(SENDER, db) as bus:
            sent = Counter(one.id for _ in range(self._count // _CHUNK) for one in bus.send_many([message] * _CHUNK))
            bus.send_many([{"to": RECIPIENT, "type": STOP, "urgency": "fyi"}] * processes)
        return sent


def run(folder: Path, quick: bool) -> list[Figure]:
    rounds, count = (3, 5_000) if quick else (5, 20_000)
    backlogs = Backlogs(folder, count)
    one, four, listening = alternate(
        {
            "one process": lambda: backlogs.rate("subscribe", 1),
            "four processes": lambda: backlogs.rate("subscribe", _MANY),
            "listen()": lambda: backlogs.rate("listen", 1),
        },
        rounds,
        "messages/s",
    ).values()
    what = f"a backlog of {count:,}"
    return [
        Figure.of(f"{what}, drained by subscribe() in one process", one.values, one.unit, at_least(10_000)),
        Figure.ratio(f"{what}, by four processes on one address against one", four, one, at_least(1)),
        Figure.of(f"{what}, by one and by four: duplicated or lost", [backlogs.wrong], "messages", at_most(0)),
        Figure.of(f"{what}, drained by listen() in one process", listening.values, listening.unit),
    ]
