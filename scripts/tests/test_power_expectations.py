"""What a file must hold by the ledger, and which words are said of one that does not."""

from __future__ import annotations

import pytest

from scripts.stress.outcome import Kind
from scripts.stress.power.expectations import Step, breaches

CRASH = 100


def step(*facts: str, begun: int, returned: int | None = None, durable: bool = False, drops: bool = False) -> Step:
    return Step(frozenset(facts), durable, drops, begun, returned)


def kinds(steps: list[Step], *present: str) -> list[Kind]:
    return [kind for kind, _ in breaches(steps, CRASH, present)]


def test_all_that_had_returned_is_enough() -> None:
    steps = [step("sent:1", begun=1, returned=2, durable=True), step("sent:2", begun=3, durable=True)]

    assert kinds(steps, "sent:1") == []
    assert kinds(steps, "sent:1", "sent:2") == []


def test_what_had_returned_and_is_gone_is_lost() -> None:
    assert kinds([step("sent:1", begun=1, returned=2, durable=True)]) == ["lost"]
    assert kinds([step("sent:1", begun=1, returned=CRASH + 1, durable=True)]) == []


def test_a_tail_may_be_missing_where_nobody_asked_for_more() -> None:
    steps = [step("sent:1", begun=1, returned=2), step("sent:2", begun=3, returned=4)]

    assert kinds(steps) == kinds(steps, "sent:1") == []


def test_a_hole_is_no_tail() -> None:
    steps = [step("sent:1", begun=1, returned=2), step("sent:2", begun=3, returned=4)]

    assert kinds(steps, "sent:2") == ["reordered"]


def test_steps_that_overlapped_may_come_in_either_order() -> None:
    steps = [step("sent:1", begun=1, returned=4), step("sent:2", begun=2, returned=3)]

    assert kinds(steps, "sent:1") == kinds(steps, "sent:2") == []


def test_half_of_a_step_is_broken() -> None:
    assert kinds([step("sent:1", "sent:2", begun=1)], "sent:2") == ["broken"]


@pytest.mark.parametrize("begun", [CRASH, CRASH + 5])
def test_what_began_only_after_the_crash_cannot_be_there(begun: int) -> None:
    assert kinds([step("sent:1", begun=begun)], "sent:1") == ["broken"]


def test_what_was_acked_may_be_dropped_and_nothing_else() -> None:
    steps = [
        step("sent:1", begun=1, returned=2, durable=True),
        step("sent:2", begun=3, returned=4, durable=True),
        step("acked:1", begun=5, returned=6, durable=True),
        step(begun=7, drops=True),
    ]

    assert kinds(steps, "sent:2") == []
    assert kinds(steps, "sent:1", "acked:1", "sent:2") == []
    assert "lost" in kinds(steps, "sent:1", "acked:1")
