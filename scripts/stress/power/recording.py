"""Recording: the run of a program, as the log of its writes to the disk."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from raven.config import Durability
from raven.store import checkpoint, connection
from scripts.stress.power.expectations import Expectations, Step
from scripts.stress.power.programs import Program, ProgramContext
from scripts.stress.power.recorder import Recorder
from scripts.stress.power.write_log import Entry, WriteLog

DB = "bus.db"
# A checkpoint after so few pages gives a short recording many checkpoints and restarts of the WAL.
_PAGES = (6, 12, 30)


@dataclass(frozen=True)
class Recording:
    """The log, whose entries from `begin` on a power cut can affect, and the steps of the program.

    With `is_single`, no step began before the previous one had returned. `moments` is the number of cuts, see Program.
    """

    entries: Sequence[Entry]
    begin: int
    steps: Sequence[Step]
    durability: Durability
    moments: int
    is_single: bool


def record(
    program: Program, folder: Path, rng: random.Random, durability: Durability, numbers: count[int]
) -> Recording:
    """Run a program in an empty folder, and return its recording."""
    log = WriteLog()
    expectations = Expectations(log)
    subfolder = folder / "recorded"
    subfolder.mkdir()
    context = ProgramContext(subfolder / DB, expectations, rng, durability, numbers)
    if program.prepare is not None:
        program.prepare(context)
    # With several threads, slow down the syncs, so that other threads work during each.
    flush_s = 0.002 if program.threads > 1 else 0.0
    with _small_limits(rng.choice(_PAGES)), Recorder(subfolder, log, flush_s=flush_s) as recorder:
        program.run(context)
    return Recording(log.entries, recorder.begin, expectations.steps, durability, program.moments, program.threads == 1)


@contextmanager
def _small_limits(pages: int) -> Iterator[None]:
    """Lower raven's limits: checkpoint after so many pages, and truncate the WAL to about half of them."""
    from raven.host import worker

    small = [
        (checkpoint, "PAGES", pages),
        (connection, "WAL_SIZE_LIMIT", pages * 2048),
        (worker, "_MAX_WAL", pages * 4096),
        (worker, "_CHECK_WAL_EVERY", 3),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in small]
    for module, name, value in small:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
