"""History: a program's run, as the disk was told of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from raven.config import Durability
from raven.store import checkpoint, connection
from scripts.stress.power.expectations import Ledger, Step
from scripts.stress.power.programs import Program, Scene
from scripts.stress.power.recorder import Recorder
from scripts.stress.power.write_log import Entry, WriteLog

DB = "bus.db"
# Small enough that the WAL is written back and begun anew many times in a short history.
_PAGES = (6, 12, 30)


@dataclass(frozen=True)
class History:
    """The log, from `begin` on what the power can cut short, and what each step was to leave behind.

    Where `is_single`, no step began before the last had returned. `moments` are how many to try, as in a Program.
    """

    entries: Sequence[Entry]
    begin: int
    steps: Sequence[Step]
    durability: Durability
    moments: int
    is_single: bool


def record(
    program: Program, folder: Path, chance: random.Random, durability: Durability, numbers: count[int]
) -> History:
    """Run a program in an empty folder and return what came to the disk."""
    log = WriteLog()
    ledger = Ledger(log)
    place = folder / "recorded"
    place.mkdir()
    scene = Scene(place / DB, ledger, chance, durability, numbers)
    if program.prepare is not None:
        program.prepare(scene)
    # With several threads a slow disk, so that one of them is at work while another waits for it.
    flush_s = 0.002 if program.threads > 1 else 0.0
    with _small_limits(chance.choice(_PAGES)), Recorder(place, log, flush_s=flush_s) as recorder:
        program.run(scene)
    return History(log.entries, recorder.begin, ledger.steps, durability, program.moments, program.threads == 1)


@contextmanager
def _small_limits(pages: int) -> Iterator[None]:
    """Let raven write the WAL back after so many pages, and cut it to about half of what those take."""
    from raven.host import worker as work

    small = [
        (checkpoint, "PAGES", pages),
        (connection, "WAL_SIZE_LIMIT", pages * 2048),
        (work, "_MAX_WAL", pages * 4096),
        (work, "_LOOK_AT_WAL_EVERY", 3),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in small]
    for module, name, value in small:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
