"""Trial: rounds of a scenario, each begun from a seed of its own, until the time is over."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from scripts.stress.outcome import Finding, Kind, Outcome


class Round:
    """One round of a scenario: an empty folder, a source of chance, and where to say what came of it.

    Whatever the scenario leaves to chance it takes from `random`, so that a round with the same seed does the same.
    """

    def __init__(self, folder: Path, seed: int, seconds: float, outcome: Outcome) -> None:
        self.folder = folder
        self.seed = seed
        self.random = random.Random(seed)
        self.seconds = seconds
        self._outcome = outcome

    def did(self, what: str, times: int = 1) -> None:
        """Count what was done, in the plural: `did("kills")`."""
        self._outcome.done[what] += times

    def found(self, kind: Kind, what: str) -> None:
        """Tell of a promise that was not kept."""
        self._outcome.findings.append(Finding(kind, what, self.seed))

    def expect(self, condition: object, what: str) -> None:
        """Tell of something broken unless the condition holds; `what` says what should be."""
        if not condition:
            self.found("broken", what)

    def draw(self, svg: str) -> None:
        """Keep a picture of what happened."""
        self._outcome.plot = svg


# So many rounds that end by an exception tell enough.
_MOST_FAILURES = 10

Scenario = Callable[[Round], None]


def run(scenario: Scenario, folder: Path, *, seconds: float, seed: int, rounds: int | None = None) -> Outcome:
    """Run rounds of a scenario for about so long, at least one; the first has the seed given, the next the next number.

    A round may take as long as is left when it begins, and need not. An exception ends its round, and is a finding.
    """
    outcome, failures = Outcome(), 0
    begin = time.monotonic()
    while outcome.rounds == 0 or (left := seconds - (time.monotonic() - begin)) > 0:
        if outcome.rounds == rounds or failures == _MOST_FAILURES:
            break
        place = folder / f"{outcome.rounds}"
        place.mkdir()
        left = seconds if outcome.rounds == 0 else left
        one = Round(place, seed + outcome.rounds, left, outcome)
        try:
            scenario(one)
        except Exception as error:
            failures += 1
            one.found("broken", f"{type(error).__name__}: {error}")
        outcome.rounds += 1
    outcome.seconds = time.monotonic() - begin
    return outcome
