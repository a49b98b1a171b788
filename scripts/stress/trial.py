"""Trial: rounds of a scenario, each with a seed of its own, until the time is over."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from scripts.stress.outcome import Finding, Kind, Outcome


class Round:
    """One round of a scenario: an empty folder, a random number generator, and methods that record the results.

    A scenario takes every random decision from `random`, so that a round with the same seed repeats it.
    """

    def __init__(self, folder: Path, seed: int, seconds: float, outcome: Outcome) -> None:
        self.folder = folder
        self.seed = seed
        self.random = random.Random(seed)
        self.seconds = seconds
        self._outcome = outcome

    def count(self, action: str, times: int = 1) -> None:
        """Count an action, named in the plural: `count("kills")`."""
        self._outcome.counts[action] += times

    def keep_longest(self, what: str, value: int) -> None:
        """Keep the greatest value of all rounds, named in the plural as an action is."""
        self._outcome.counts[what] = max(self._outcome.counts[what], value)

    def report(self, kind: Kind, text: str) -> None:
        """Report a broken promise."""
        self._outcome.findings.append(Finding(kind, text, self.seed))

    def expect(self, condition: object, text: str) -> None:
        """Report a broken promise unless the condition holds; `text` states the promise."""
        if not condition:
            self.report("broken", text)

    def draw(self, svg: str) -> None:
        """Keep the plot of this round."""
        self._outcome.plot = svg


# A trial stops after this many rounds that an exception ended.
_MAX_FAILURES = 10

Scenario = Callable[[Round], None]


def run(scenario: Scenario, folder: Path, *, seconds: float, seed: int, rounds: int | None = None) -> Outcome:
    """Run rounds of a scenario for about `seconds`, and at least one; round n has the seed `seed` + n.

    Each round gets the remaining time as its limit, and may end earlier. An exception ends its round and is reported
    as a finding.
    """
    outcome, failures = Outcome(), 0
    begin = time.monotonic()
    while outcome.rounds == 0 or (left := seconds - (time.monotonic() - begin)) > 0:
        if outcome.rounds == rounds or failures == _MAX_FAILURES:
            break
        subfolder = folder / f"{outcome.rounds}"
        subfolder.mkdir()
        left = seconds if outcome.rounds == 0 else left
        round = Round(subfolder, seed + outcome.rounds, left, outcome)
        try:
            scenario(round)
        except Exception as error:
            failures += 1
            round.report("broken", f"{type(error).__name__}: {error}")
        outcome.rounds += 1
    outcome.seconds = time.monotonic() - begin
    return outcome
