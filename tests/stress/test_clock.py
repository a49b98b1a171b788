"""The clock trial in its short form, and tests that its accounting finds broken promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.harness.deadline import slowness
from scripts.stress.catalogue import TRIALS
from scripts.stress.clock.accounting import SLACK_S, Note, open_ids, problems
from scripts.stress.outcome import describe

GOOD: list[Note] = [
    ["sent", 1.0, 1, 1, "auto:clock", False],
    ["sent", 1.1, 2, 2, "manual:clock", False],
    ["sent", 1.2, 3, 3, "brief:clock", False],
    ["sent", 1.3, 4, 4, "auto:clock", True],
    ["sent", 1.4, 5, 5, "auto:clock", False],
    ["sent", 1.5, 5, 5, "auto:clock", False],
    ["received", 2.0, 1, 1, "auto:clock", 1, 1.9],
    ["received", 2.1, 2, 2, "manual:clock", 1, 1.9],
    ["late", 2.2, 2],
    ["received", 2.3, 2, 2, "manual:clock", 2, 2.2],
    ["acked", 2.4, 2],
    ["received", 2.5, 5, 5, "auto:clock", 1, 2.4],
    ["received", 2.6, 4, 4, "auto:clock", 1, 2.5],
    ["waited", 3.0, "listen", 0.31],
    ["answered", 4.0, 0.01],
    ["unanswered", 9.0, 4.01],
]
STATES = {1: "acked", 2: "acked", 3: "expired", 4: "acked", 5: "acked"}
STEPS = [8.0]


@pytest.mark.slow
def test_steps_of_the_clock_lose_nothing(tmp_path: Path) -> None:
    # On a slow machine a step of the clock wakes a waiter more seldom.
    outcome = TRIALS["clock"].run(tmp_path, seconds=4 * min(8.0, slowness()), seed=7, rounds=1)

    assert outcome.is_clean, "\n".join(describe("clock", outcome))
    for name in ("clock steps", "sends", "acks", "answered requests", "timeouts", "wake-ups by a clock step"):
        assert outcome.counts[name] > 0, outcome.counts


def test_valid_notes_show_no_problem() -> None:
    assert list(problems(GOOD, STATES, STEPS)) == []
    assert open_ids(GOOD) == set()


def drop(name: str, id: int) -> Callable[[list[Note]], list[Note]]:
    return lambda notes: [note for note in notes if (note[0], note[2]) != (name, id)]


def add(*more: Note) -> Callable[[list[Note]], list[Note]]:
    return lambda notes: sorted([*notes, *more], key=lambda note: note[1])


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (drop("received", 1), "lost", "#1 at auto:clock is acked, and was never received"),
        (drop("acked", 2), "lost", "#2 at manual:clock is acked, and was never acked"),
        (add(["sent", 1.6, 9, 9, "brief:clock", False]), "lost", "#9 was sent, and is not in the bus"),
        (add(["received", 2.7, 1, 1, "auto:clock", 2, 2.6]), "duplicated", "#1 at auto:clock was received 2 times"),
        (add(["received", 2.45, 2, 2, "manual:clock", 3, 2.41]), "duplicated", "was received after it was acked"),
        (add(["received", 2.45, 2, 2, "manual:clock", 2, 2.3]), "duplicated", "was received at one attempt twice"),
        (add(["acked", 2.45, 2]), "duplicated", "was acked under 2 leases"),
        (add(["sent", 1.6, 1, 5, "auto:clock", False]), "duplicated", "job 5 was sent twice under one dedup_key"),
        (add(["received", 1.5, 5, 5, "auto:clock", 1, 1.4]), "reordered", "#1 was received after #5"),
        (add(["waited", 3.1, "tail", 0.1]), "broken", "tail with a timeout of 0.3 s took 0.10 s"),
        (add(["waited", 3.1, "tail", 1 + SLACK_S]), "broken", "tail with a timeout of 0.3 s took 16.00 s"),
        (add(["unanswered", 7.0, 4.01]), "lost", "got no answer"),
        (add(["unanswered", 8.1, 0.2]), "broken", "was given up after 0.20 s"),
        (add(["answered", 30.0, 20.0]), "broken", "was answered after 20.00 s"),
        (add(["received", 2.7, 4, 1, "auto:clock", 1, 2.6]), "broken", "#4 was received with another"),
    ],
)
def test_a_broken_promise_in_the_notes_is_found(
    change: Callable[[list[Note]], list[Note]], kind: str, text: str
) -> None:
    actual = list(problems(change(GOOD), STATES, STEPS))

    assert any(kind == a and text in b for a, b in actual), actual
