"""Expectations: the steps of a program, the facts that each must leave, and the comparison with a file.

A fact is a text: `sent:3`, `acked:3`, `row:3`. A step leaves all of its facts or none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.stress.outcome import Kind
from scripts.stress.power.write_log import StepMark, WriteLog


@dataclass
class Step:
    """A call: its facts, the log index at which it began, and the index at which it returned, if it has.

    `is_durable` is True if its client asked for durability. A step with `drops` may remove all messages that were sent
    and acked.
    """

    facts: frozenset[str]
    is_durable: bool
    drops: bool
    begun: int
    returned: int | None = None


class Expectations:
    """The steps of all threads of one program."""

    def __init__(self, log: WriteLog) -> None:
        self._log = log
        self.steps: list[Step] = []

    def add_old(self, facts: Iterable[str]) -> None:
        """Add facts that are on the disk before the first step."""
        self.steps.append(Step(frozenset(facts), True, False, -1, -1))

    @contextmanager
    def step(self, facts: Iterable[str], *, durable: bool, drops: bool = False) -> Iterator[None]:
        """Record the calls inside the with statement as one step."""
        with self._log.lock:
            number = len(self.steps)
            self.steps.append(Step(frozenset(facts), durable, drops, self._log.add(StepMark(number, False))))
        yield
        self.steps[number].returned = self._log.add(StepMark(number, True))


def broken_promises(steps: Collection[Step], crash: int, present: Collection[str]) -> Iterator[tuple[Kind, str]]:
    """Yield the promises that a file with these facts breaks, if the power failed just before the entry `crash`."""
    begun = [step for step in steps if step.begun < crash]
    droppable = _droppable(begun)
    present_steps = []
    for step in begun:
        facts = step.facts - droppable
        there = {fact for fact in facts if fact in present}
        if there and there != facts:
            yield "broken", f"half of a step: {_few(there)} without {_few(facts - there)}"
        if step.facts & set(present):
            present_steps.append(step)
        elif facts and step.is_durable and step.returned is not None and step.returned < crash:
            yield "lost", f"{_few(facts)} were lost, though their step had returned"
    newest = max((step.begun for step in present_steps), default=-1)
    for step in begun:
        facts = step.facts - droppable
        if step.returned is not None and step.returned < newest and facts and not facts & set(present):
            yield "reordered", f"{_few(facts)} are missing, and a later step is present"
    known = {fact for step in begun for fact in step.facts}
    if unknown := set(present) - known:
        yield "broken", f"{_few(unknown)} were never written"


def _droppable(begun: Iterable[Step]) -> set[str]:
    """Return the facts that a step with `drops` may have removed."""
    droppable: set[str] = set()
    acked: set[str] = set()
    for step in begun:
        acked |= {fact.partition(":")[2] for fact in step.facts if fact.startswith("acked:")}
        if step.drops:
            droppable |= {f"{kind}:{number}" for number in acked for kind in ("sent", "acked")}
    return droppable


def _few(facts: Iterable[str]) -> str:
    shown = sorted(facts)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
