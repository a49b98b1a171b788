"""Sixteen processes that send at once to four addresses, against one that sends as many messages alone."""

from __future__ import annotations

import itertools
from pathlib import Path

from scripts.benchmarks.figure import Figure, Side, at_least, at_most
from scripts.benchmarks.producer import Sent
from scripts.benchmarks.rounds import alternate
from scripts.benchmarks.rows import count_rows
from scripts.benchmarks.team import Team

_MANY = 16
_RECIPIENTS = [f"worker-{number}:bench" for number in range(4)]


class Sendings:
    """Rounds in which `count` messages are sent, each in a file of its own, and what went wrong in any of them."""

    def __init__(self, folder: Path, count: int) -> None:
        self._files = (folder / f"{number}.db" for number in itertools.count())
        self._count = count
        self.worst_ms: dict[int, list[float]] = {}
        self.failures = 0

    def rate(self, processes: int) -> float:
        """Let so many processes share the messages among them; returns how many messages/s they sent together."""
        db, share = str(next(self._files)), self._count // processes
        members = [
            ("producer", db, f"producer-{number}:bench", str(share), *_RECIPIENTS) for number in range(processes)
        ]
        with Team(members) as team:
            team.go()
            sent = [Sent(**report) for report in team.reports()]
        self.worst_ms.setdefault(processes, []).append(max(one.worst_ms for one in sent))
        failed = sum(one.failures for one in sent)
        # What no send complained of, and is not there, has failed as well.
        self.failures += failed + abs(processes * share - failed - count_rows(db, "messages"))
        return processes * share / (max(one.end_s for one in sent) - min(one.begin_s for one in sent))


def run(folder: Path, quick: bool) -> list[Figure]:
    rounds, count = (3, 12_000) if quick else (5, 24_000)
    sendings = Sendings(folder, count)
    sixteen, one = alternate(
        {f"{_MANY} processes": lambda: sendings.rate(_MANY), "one process": lambda: sendings.rate(1)},
        rounds,
        "messages/s",
    ).values()
    worst = [
        Side(f"{name}, each round's worst", "ms", tuple(sendings.worst_ms[processes]))
        for name, processes in ((sixteen.name, _MANY), (one.name, 1))
    ]
    what = f"{_MANY} producer processes"
    return [
        Figure.ratio(f"{what} in total, against one alone", sixteen, one, at_least(0.6)),
        Figure.of(f"{what}: the worst single send of all rounds", [max(worst[0].values)], "ms", at_most(250), worst),
        Figure.of(f"{what}: sends that failed", [sendings.failures], "messages", at_most(0)),
    ]
