"""Power: lost at every write and at every fsync, simulated by what the disk can hold then.

A program runs on the real bus; SQLite's VFS keeps a log of what its files were told. From the log come the files that a
disk could hold after a power cut at any moment. Each is opened by raven and by another SQLite: it must be sound, hold a
prefix of the commits in order, and with `durability="full"` all that had returned.
"""

from __future__ import annotations

from itertools import count

from raven.config import Durability
from scripts.stress.power.power_cut import Cutter
from scripts.stress.power.programs import PROGRAMS
from scripts.stress.power.recording import record
from scripts.stress.trial import Round

_DURABILITIES: tuple[Durability, ...] = ("full", "normal")
# Each in turn, by the seed.
HISTORIES = tuple((name, durability) for name in PROGRAMS for durability in _DURABILITIES)


def run(round: Round) -> None:
    """Record one history, and cut the power in it again and again."""
    name, durability = HISTORIES[round.seed % len(HISTORIES)]
    history = record(PROGRAMS[name], round.folder, round.random, durability, count(1))
    round.count("recorded runs")
    with Cutter(history, round) as cutter:
        cutter.cut()
