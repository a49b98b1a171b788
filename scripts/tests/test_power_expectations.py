"""The expectations of a power cut: which facts a file must have, and the kind of each broken promise."""

from __future__ import annotations

import pytest

from scripts.stress.outcome import Kind
from scripts.stress.power.expectations import Step, broken_promises

CRASH = 100


def step(*facts: str, begun: int, returned: int | None = None, durable: bool = False, drops: bool = False) -> Step:
    return Step(frozenset(facts), durable, drops, begun, returned)


def kinds(steps: list[Step], *present: str) -> list[Kind]:
    return [kind for kind, _ in broken_promises(steps, CRASH, present)]


def test_the_facts_of_returned_steps_are_enough() -> None:
    steps = [step("sent:1", begun=1, returned=2, durable=True), step("sent:2", begun=3, durable=True)]

    assert kinds(steps, "sent:1") == []
    assert kinds(steps, "sent:1", "sent:2") == []


def test_a_missing_fact_of_a_returned_step_is_lost() -> None:
    assert kinds([step("sent:1", begun=1, returned=2, durable=True)]) == ["lost"]
    assert kinds([step("sent:1", begun=1, returned=CRASH + 1, durable=True)]) == []


def test_without_durability_the_last_steps_may_be_missing() -> None:
    steps = [step("sent:1", begun=1, returned=2), step("sent:2", begun=3, returned=4)]

    assert kinds(steps) == kinds(steps, "sent:1") == []


def test_a_missing_step_before_a_present_one_is_reordered() -> None:
    steps = [step("sent:1", begun=1, returned=2), step("sent:2", begun=3, returned=4)]

    assert kinds(steps, "sent:2") == ["reordered"]


def test_overlapping_steps_may_come_in_either_order() -> None:
    steps = [step("sent:1", begun=1, returned=4), step("sent:2", begun=2, returned=3)]

    assert kinds(steps, "sent:1") == kinds(steps, "sent:2") == []


def test_half_of_a_step_is_broken() -> None:
    assert kinds([step("sent:1", "sent:2", begun=1)], "sent:2") == ["broken"]


@pytest.mark.parametrize("begun", [CRASH, CRASH + 5])
def test_a_fact_of_a_step_after_the_crash_is_broken(begun: int) -> None:
    assert kinds([step("sent:1", begun=begun)], "sent:1") == ["broken"]


def test_only_acked_messages_may_be_dropped() -> None:
    steps = [
        step("sent:1", begun=1, returned=2, durable=True),
        step("sent:2", begun=3, returned=4, durable=True),
        step("acked:1", begun=5, returned=6, durable=True),
        step(begun=7, drops=True),
    ]

    assert kinds(steps, "sent:2") == []
    assert kinds(steps, "sent:1", "acked:1", "sent:2") == []
    assert "lost" in kinds(steps, "sent:1", "acked:1")
