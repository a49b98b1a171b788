"""Catalogue: every trial by its name, in the order of the table."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple

from scripts.stress import trial
from scripts.stress.outcome import Outcome


class Entry(NamedTuple):
    """A package here with a module `scenario`, what that does, and how long it should have."""

    name: str
    what: str
    seconds: float

    def run(self, folder: Path, *, seconds: float, seed: int, rounds: int | None = None) -> Outcome:
        """Run it in an empty folder; imported only now, so that what one of them lacks hides no other."""
        scenario: trial.Scenario = importlib.import_module(f"scripts.stress.{self.name}.scenario").run
        return trial.run(scenario, folder, seconds=seconds, seed=seed, rounds=rounds)


_ENTRIES = (
    Entry("kill9", "kill -9 at producers, consumers, the elected WAL watcher and the server", 300),
    Entry("power", "power lost at every write and every fsync", 120),
    Entry("disk", "no room, no permission, read-only, file too large, quota", 120),
    Entry("external", "other SQLite programs, long readers and writers, files replaced, restored, moved", 120),
    Entry("processes", "forks, stopped and cancelled ones, no descriptors, no inotify, spoiled doorbells", 120),
    Entry("clock", "steps of the clock by an hour each way", 120),
    Entry("socket", "the helper under random bytes, slow and many clients, and strangers", 180),
    Entry("injection", "texts aimed at terminals, shells, SQL, JSON lines and file names", 60),
    Entry("upgrade", "files of the first schema, and of one to come", 30),
    Entry("fuzz", "the protocol's parser, guided by coverage (atheris)", 120),
    Entry("soak", "a mixed load with restarts: memory, descriptors and files stay flat", 1800),
)
TRIALS = {entry.name: entry for entry in _ENTRIES}
# The names of earlier releases, which the command still takes.
ALIASES = {"storm": "kill9", "foreign": "external"}
