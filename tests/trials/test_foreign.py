"""The trial of foreign hands, in short, and the count by which it judges."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scripts.trials import trial
from scripts.trials.foreign import hands, tally
from scripts.trials.foreign import scenario as foreign
from scripts.trials.history.journal import Event
from scripts.trials.outcome import describe


@pytest.mark.slow
def test_beside_foreign_hands_and_under_replaced_files_nothing_is_lost(tmp_path: Path) -> None:
    outcome = trial.run(foreign.run, tmp_path, seconds=3, seed=4, rounds=1)

    assert outcome.is_clean, "\n".join(describe("foreign", outcome))
    assert outcome.done["hands"] == len(hands.LIVE)
    assert outcome.done["hands at rest"] == 2
    assert outcome.done["replaced files"] == outcome.done["files taken away and brought back"] == 3
    assert outcome.done["kills"] >= 4
    assert outcome.done["sends"] > 100
    assert outcome.done["receipts"] > 100


def history(*steps: tuple[str, str, dict[str, Any]]) -> list[Event]:
    """Return events, a second apart, of lives `p0-<group>.<part>`."""
    return [Event(at, at, f"p0-{life}", what, told) for at, (life, what, told) in enumerate(steps)]


def sending(number: int, to: str = "auto:f") -> tuple[str, str, dict[str, Any]]:
    return ("writers.patient", "sending", {"token": f"p0-writers.patient:{number}", "to": to})


def sent(number: int, id: int) -> tuple[str, str, dict[str, Any]]:
    return ("writers.patient", "sent", {"token": f"p0-writers.patient:{number}", "id": id})


def received(number: int, id: int, part: str = "auto") -> tuple[str, str, dict[str, Any]]:
    return (f"takers.{part}", "received", {"token": f"p0-writers.patient:{number}", "id": id})


REFUSED = ("writers.patient", "refused", {"token": "p0-writers.patient:1", "error": "BusyError: x"})
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
        (["doubled"], [*ONE, received(1, 1), received(1, 1)], {1: 1}),
        ([], [sending(1, "manual:f"), sent(1, 1), received(1, 1, "manual"), received(1, 1, "manual")], {1: 1}),
        (["reordered"], [*TWO, received(2, 2), received(1, 1)], {1: 1, 2: 2}),
        (["broken"], [("takers.auto", "failed", {"error": "ValueError: x"})], {}),
        (["lost"], [("strangers.reader", "looked", {"count": 1, "highest": 1, "orphans": 1})], {}),
    ],
)
def test_the_count_tells_what_was_lost_doubled_and_reordered(
    kinds: list[str], steps: list[tuple[str, str, dict[str, Any]]], there: dict[int, int]
) -> None:
    ids = {f"p0-writers.patient:{number}": id for number, id in there.items()}

    verdicts = list(tally.verdicts(history(*steps), Counter(list(ids)), ids))

    assert [verdict.kind for verdict in verdicts] == kinds


def test_a_kill_excuses_one_lost_receipt_and_a_replaced_file_what_was_sent_meanwhile() -> None:
    ids = {"p0-writers.patient:1": 1, "p0-writers.patient:2": 2}

    def kinds(there: dict[str, int], **allowed: Any) -> list[str]:
        found = tally.verdicts(history(*TWO), Counter(list(there)), there, **allowed)
        return [verdict.kind for verdict in found]

    assert kinds({"p0-writers.patient:1": 1}, kills=1, excused=[(2.5, 3.5)]) == []
    assert kinds({"p0-writers.patient:2": 2}, kills=1, excused=[(2.5, 3.5)]) == ["lost"]
    assert kinds(ids, kills=1) == ["lost"]
    assert kinds(ids, kills=2) == []


def test_a_message_that_is_twice_in_the_bus_is_doubled() -> None:
    steps = history(*ONE, received(1, 1))

    verdicts = list(tally.verdicts(steps, Counter(["p0-writers.patient:1"] * 2), {"p0-writers.patient:1": 1}))

    assert [verdict.kind for verdict in verdicts] == ["doubled"]
