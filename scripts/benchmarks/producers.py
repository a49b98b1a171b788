"""Sixteen processes send at once to four addresses, against one process that sends as many messages."""

from __future__ import annotations

import itertools
from pathlib import Path

from scripts.benchmarks.interleave import interleave_sides
from scripts.benchmarks.metric import Metric, Side, at_least, at_most
from scripts.benchmarks.process_group import ProcessGroup
from scripts.benchmarks.producer import SendResult
from scripts.benchmarks.row_count import count_rows

_MANY = 16
_RECIPIENTS = [f"worker-{number}:bench" for number in range(4)]


class SendRounds:
    """Rounds of `count` sends, each on a new bus; `failures` counts the failed sends of all rounds."""

    def __init__(self, folder: Path, count: int) -> None:
        self._files = (folder / f"{number}.db" for number in itertools.count())
        self._count = count
        self.worst_ms: dict[int, list[float]] = {}
        self.failures = 0

    def rate(self, processes: int) -> float:
        """Share the messages among `processes` processes; returns their total rate in messages/s."""
        db, share = str(next(self._files)), self._count // processes
        members = [
            ("producer", db, f"producer-{number}:bench", str(share), *_RECIPIENTS) for number in range(processes)
        ]
        with ProcessGroup(members) as group:
            group.start()
            results = [SendResult(**report) for report in group.reports()]
        self.worst_ms.setdefault(processes, []).append(max(result.worst_ms for result in results))
        failed = sum(result.failures for result in results)
        # A missing message without an error of its send counts as failed.
        self.failures += failed + abs(processes * share - failed - count_rows(db, "messages"))
        return processes * share / (max(result.end_s for result in results) - min(result.begin_s for result in results))


def run(folder: Path, quick: bool) -> list[Metric]:
    rounds, count = (3, 12_000) if quick else (5, 24_000)
    send_rounds = SendRounds(folder, count)
    sixteen, one = interleave_sides(
        {f"{_MANY} processes": lambda: send_rounds.rate(_MANY), "one process": lambda: send_rounds.rate(1)},
        rounds,
        "messages/s",
    ).values()
    worst = [
        Side(f"{name}, each round's worst", "ms", tuple(send_rounds.worst_ms[processes]))
        for name, processes in ((sixteen.name, _MANY), (one.name, 1))
    ]
    name = f"{_MANY} producer processes"
    return [
        Metric.ratio(f"{name} in total, against one alone", sixteen, one, at_least(0.6)),
        Metric.of(f"{name}: the worst single send of all rounds", [max(worst[0].values)], "ms", at_most(250), worst),
        Metric.of(f"{name}: sends that failed", [send_rounds.failures], "messages", at_most(0)),
    ]
