"""The trial of foreign hands, in short, and the count by which it judges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.stress import trial
from scripts.stress.external import accounting, sql_actions
from scripts.stress.external import scenario as external
from scripts.stress.history.assemble import history_of
from scripts.stress.history.history import History, Look, Stored
from scripts.stress.history.journal import Event
from scripts.stress.outcome import describe


@pytest.mark.slow
def test_beside_foreign_hands_and_under_replaced_files_nothing_is_lost(tmp_path: Path) -> None:
    outcome = trial.run(external.run, tmp_path, seconds=3, seed=4, rounds=1)

    assert outcome.is_clean, "\n".join(describe("external", outcome))
    assert outcome.counts["external SQL actions"] == len(sql_actions.LIVE)
    assert outcome.counts["actions on an idle bus"] == 2
    assert outcome.counts["replaced files"] == outcome.counts["files removed and restored"] == 3
    assert outcome.counts["kills"] >= 4
    assert outcome.counts["sends"] > 100
    assert outcome.counts["messages received"] > 100


Step = tuple[str, str, dict[str, Any]]


def told(*steps: Step, there: dict[int, int]) -> History:
    """Return what lives `r0-<group>.<part>` wrote down, a step a second; `there` are messages and their ids."""
    begin: list[Step] = [
        ("takers.auto", "consuming", {"address": "auto:f", "mode": "auto"}),
        ("takers.manual", "consuming", {"address": "manual:f", "mode": "manual"}),
    ]
    events = [Event(at, at, f"r0-{life}", what, told) for at, (life, what, told) in enumerate([*begin, *steps], -1)]
    stored = tuple(Stored(id, "patient:senders", f"t{number}", "d", "prompt", None) for number, id in there.items())
    return history_of(events, Look(stored, (), ()))


def sending(number: int, to: str = "auto:f") -> Step:
    posts = [[f"t{number}", [to], "prompt", "d", 9]]
    return ("writers.patient", "sending", {"call": number, "posts": posts, "key": None})


def sent(number: int, id: int) -> Step:
    return ("writers.patient", "sent", {"call": number, "ids": [id]})


def received(number: int, id: int, part: str = "auto") -> Step:
    known = {"digest": "d", "urgency": "prompt", "attempts": 1, "lease": None}
    return (f"takers.{part}", "received", {"id": id, "token": f"t{number}", **known})


REFUSED = ("writers.patient", "refused", {"call": 1, "error": "BusyError: x"})
ONE = [sending(1), sent(1, 1)]
TWO = [*ONE, sending(2), sent(2, 2)]


@pytest.mark.parametrize(
    ("kinds", "steps", "there"),
    [
        ([], [*TWO, received(1, 1), received(2, 2)], {1: 1, 2: 2}),
        ([], [sending(1), REFUSED], {}),
        ([], [sending(1), received(1, 1)], {1: 1}),
        (["lost"], ONE, {}),
        (["lost"], ONE, {1: 1}),
        (["lost"], [sending(1, "manual:f"), sent(1, 1)], {1: 1}),
        (["broken"], [sending(1), REFUSED, received(1, 1)], {1: 1}),
        (["broken"], [*ONE, received(1, 1)], {1: 7}),
        (["broken"], [sending(1, "manual:f"), sent(1, 1), received(1, 1, "manual"), received(1, 1)], {1: 1}),
        ([], [sending(1, "manual:f"), sent(1, 1), received(1, 1, "manual"), received(1, 1, "manual")], {1: 1}),
        (["broken"], [("takers.auto", "failed", {"error": "ValueError: x"})], {}),
    ],
)
def test_the_count_tells_what_was_lost_and_what_is_other_than_it_was_sent(
    kinds: list[str], steps: list[Step], there: dict[int, int]
) -> None:
    assert [verdict.kind for verdict in accounting.verdicts(told(*steps, there=there), [])] == kinds


@pytest.mark.parametrize(
    ("spans", "kinds", "steps", "there"),
    [
        ([(3.5, 4.5)], [], [*TWO, received(1, 1), received(2, 2)], {1: 1}),
        ([(3.5, 4.5)], ["lost"], [*TWO, received(1, 1), received(2, 2)], {2: 2}),
        ([], ["lost"], [*TWO, received(1, 1), received(2, 2)], {1: 1}),
        # It was finished under the id of another.
        ([(9.0, 10.0)], [], [sending(1, "manual:f"), sent(1, 1)], {1: 1}),
    ],
)
def test_a_replaced_file_excuses_what_was_sent_meanwhile(
    spans: list[tuple[float, float]], kinds: list[str], steps: list[Step], there: dict[int, int]
) -> None:
    assert [verdict.kind for verdict in accounting.verdicts(told(*steps, there=there), spans)] == kinds


def test_a_message_that_is_twice_in_the_bus_is_doubled() -> None:
    history = told(*ONE, received(1, 1), there={1: 1})
    twice = history.look._replace(messages=history.look.messages * 2)

    assert [verdict.kind for verdict in accounting.verdicts(replace(history, look=twice), [])] == ["duplicated"]
