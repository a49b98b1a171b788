"""Ledger: which steps a program took, what each of them is to leave behind, and whether a file has that.

A fact is a text: `sent:3`, `acked:3`, `row:3`. A step leaves all of its facts or none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.stress.outcome import Kind
from scripts.stress.power.write_log import Noted, WriteLog


@dataclass
class Step:
    """A call: its facts, where in the log it began, and where it returned, if it has.

    Without `is_durable` the one who called did not ask for durability. A step that `drops` may take away all that was
    sent and acked.
    """

    facts: frozenset[str]
    is_durable: bool
    drops: bool
    begun: int
    returned: int | None = None


class Ledger:
    """The steps of all threads of one program."""

    def __init__(self, log: WriteLog) -> None:
        self._log = log
        self.steps: list[Step] = []

    def keep(self, facts: Iterable[str]) -> None:
        """Note what has been on the disk for long."""
        self.steps.append(Step(frozenset(facts), True, False, -1, -1))

    @contextmanager
    def step(self, facts: Iterable[str], *, durable: bool, drops: bool = False) -> Iterator[None]:
        """Note what is done inside as one step."""
        with self._log.lock:
            number = len(self.steps)
            self.steps.append(Step(frozenset(facts), durable, drops, self._log.add(Noted(number, False))))
        yield
        self.steps[number].returned = self._log.add(Noted(number, True))


def breaches(steps: Collection[Step], crash: int, present: Collection[str]) -> Iterator[tuple[Kind, str]]:
    """Say which promises a file with these facts breaks, where the power went just before an entry of the log."""
    begun = [step for step in steps if step.begun < crash]
    droppable = _droppable(begun)
    found = []
    for step in begun:
        facts = step.facts - droppable
        there = {fact for fact in facts if fact in present}
        if there and there != facts:
            yield "broken", f"half of a step: {_few(there)} without {_few(facts - there)}"
        if step.facts & set(present):
            found.append(step)
        elif facts and step.is_durable and step.returned is not None and step.returned < crash:
            yield "lost", f"{_few(facts)} had returned"
    newest = max((step.begun for step in found), default=-1)
    for step in begun:
        facts = step.facts - droppable
        if step.returned is not None and step.returned < newest and facts and not facts & set(present):
            yield "reordered", f"{_few(facts)} is not there, and what came after it is"
    known = {fact for step in begun for fact in step.facts}
    if strange := set(present) - known:
        yield "broken", f"{_few(strange)} was never written"


def _droppable(begun: Iterable[Step]) -> set[str]:
    """Return the facts that may be gone with what was finished and old."""
    found: set[str] = set()
    acked: set[str] = set()
    for step in begun:
        acked |= {fact.partition(":")[2] for fact in step.facts if fact.startswith("acked:")}
        if step.drops:
            found |= {f"{kind}:{number}" for number in acked for kind in ("sent", "acked")}
    return found


def _few(facts: Iterable[str]) -> str:
    shown = sorted(facts)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
