"""Power: the power is cut at every write and at every fsync, simulated by the possible contents of the disk.

A program runs on a real bus, and SQLite's VFS logs its writes. From the log come the files that a disk could hold after
a power cut at any moment. raven and another SQLite open each image: it must be sound, and hold a prefix of the commits
in order. With `durability="full"` it must hold every commit that had returned.
"""

from __future__ import annotations

from itertools import count

from raven.config import Durability
from scripts.stress.power.power_cut import PowerCutter
from scripts.stress.power.programs import PROGRAMS
from scripts.stress.power.recording import record
from scripts.stress.trial import Round

_DURABILITIES: tuple[Durability, ...] = ("full", "normal")
# The seed selects one of these.
RUNS = tuple((name, durability) for name in PROGRAMS for durability in _DURABILITIES)


def run(round: Round) -> None:
    """Record one program, and cut the power in it at one moment after another."""
    name, durability = RUNS[round.seed % len(RUNS)]
    recording = record(PROGRAMS[name], round.folder, round.random, durability, count(1))
    round.count("recorded runs")
    with PowerCutter(recording, round) as cutter:
        cutter.cut()
