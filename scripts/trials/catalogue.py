"""Catalogue: every trial by its name, in the order of the table."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple

from scripts.trials import trial
from scripts.trials.outcome import Outcome


class Entry(NamedTuple):
    """Where a scenario stands (`module.function`, below this package), what it does, and how long it should have."""

    place: str
    what: str
    seconds: float

    def run(self, folder: Path, *, seconds: float, seed: int, rounds: int | None = None) -> Outcome:
        """Run it in an empty folder; imported only now, so that what one of them lacks hides no other."""
        module, _, function = self.place.rpartition(".")
        scenario: trial.Scenario = getattr(importlib.import_module(f"scripts.trials.{module}"), function)
        return trial.run(scenario, folder, seconds=seconds, seed=seed, rounds=rounds)


TRIALS = {
    "storm": Entry("storm.run", "kill -9 at producers, consumers, the elected watch and the helper", 300),
    "power": Entry("power.run", "power lost at every write and every fsync", 120),
    "disk": Entry("disk.run", "no room, no permission, read-only, file too large, quota", 120),
    "foreign": Entry(
        "foreign.run", "other SQLite programs, long readers and writers, files replaced, restored, moved", 120
    ),
    "processes": Entry(
        "processes.run", "forks, stopped and cancelled ones, no descriptors, no inotify, spoiled doorbells", 120
    ),
    "clock": Entry("clock.run", "steps of the clock by an hour each way", 120),
    "socket": Entry("abuse.run", "the helper under random bytes, slow and many clients, and strangers", 180),
    "injection": Entry("injection.run", "texts aimed at terminals, shells, SQL, JSON lines and file names", 60),
    "upgrade": Entry("upgrade.run", "files of the first schema, and of one to come", 30),
    "fuzz": Entry("fuzz.run", "the protocol's parser, guided by coverage (atheris)", 120),
    "soak": Entry("soak.run", "a mixed load with restarts: memory, descriptors and files stay flat", 1800),
}
