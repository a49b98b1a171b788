"""Catalogue: all trials by name, in the order of the table."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple

from scripts.stress import trial
from scripts.stress.outcome import Outcome


class Entry(NamedTuple):
    """A trial: the name of its package, a summary, and its default duration. `scenario.py` in the package runs it."""

    name: str
    summary: str
    seconds: float

    def run(self, folder: Path, *, seconds: float, seed: int, rounds: int | None = None) -> Outcome:
        """Run the trial in an empty folder.

        The import is here, so that a missing package of one trial stops no other.
        """
        scenario: trial.Scenario = importlib.import_module(f"scripts.stress.{self.name}.scenario").run
        return trial.run(scenario, folder, seconds=seconds, seed=seed, rounds=rounds)


_ENTRIES = (
    Entry("kill9", "kill -9 at producers, consumers, the elected WAL watcher and the server", 300),
    Entry("power", "power lost at every write and every fsync", 120),
    Entry("disk", "a full disk, missing permissions, read-only mounts, file size limits, quotas", 120),
    Entry("external", "other SQLite programs, long readers and writers, files replaced, restored, moved", 120),
    Entry("processes", "forks, SIGSTOP, cancelled tasks, no descriptors, no inotify, damaged doorbells", 120),
    Entry("starvation", "long transactions back to back, beside short calls of every kind", 120),
    Entry("tasks", "asyncio tasks, threads, transactions and cancellations mixed, on the same clients", 60),
    Entry("clock", "clock steps of up to a day each way, and to 1970 and 2038", 120),
    Entry("socket", "the server under random bytes, slow clients, many clients, and unauthorized users", 180),
    Entry("signals", "exceptions of signal handlers at random instructions of every call", 60),
    Entry("sandbox", "a hostile client of a bound socket, beside honest ones", 60),
    Entry("strangers", "another user plants, locks and reads files beside a bus in an open folder", 60),
    Entry("injection", "texts that attack terminals, shells, SQL, JSON lines and file names", 60),
    Entry("exchange", "random histories of linked buses: frames lost, repeated and reordered, files restored", 120),
    Entry("link", "three linked hosts: relays and NATS servers killed, stores, files, clocks and networks broken", 600),
    Entry("upgrade", "files of the first schema, and of a newer one", 30),
    Entry("fuzz", "the protocol's parser, guided by coverage (atheris)", 120),
    Entry("soak", "a mixed load with restarts: memory, descriptors and file sizes must not grow", 1800),
)
TRIALS = {entry.name: entry for entry in _ENTRIES}
# The command also accepts these former names.
ALIASES = {"storm": "kill9", "foreign": "external"}
