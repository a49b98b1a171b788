"""Start-up of whole processes: the command line and the import, against the imports that they need."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from scripts.benchmarks.interleave import interleave_sides
from scripts.benchmarks.metric import Metric, at_most

_FLOOR, _IMPORT_FLOOR = "import click, apsw", "import apsw"


def run(folder: Path, quick: bool) -> list[Metric]:
    raven = str(Path(sys.executable).with_name("raven"))
    send = [raven, "send", "--db", str(folder / "bus.db"), "--from", "a:bench", "--to", "b:bench", "-t", "work"]
    commands = {
        "raven version": [raven, "version"],
        "raven send": send,
        "import raven": [sys.executable, "-c", "import raven"],
        _FLOOR: [sys.executable, "-c", _FLOOR],
        _IMPORT_FLOOR: [sys.executable, "-c", _IMPORT_FLOOR],
    }
    measures = {name: partial(time_ms, command, folder) for name, command in commands.items()}
    sides = interleave_sides(measures, 10 if quick else 40, "ms")
    floor = sides[_FLOOR]
    return [
        Metric.ratio("raven version, whole process", sides["raven version"], floor, at_most(1.4)),
        Metric.ratio("raven send, whole process", sides["raven send"], floor, at_most(1.25)),
        Metric.ratio("import raven, whole process", sides["import raven"], sides[_IMPORT_FLOOR], at_most(1.6)),
    ]


def time_ms(command: list[str], folder: Path) -> float:
    """Run a command to its end, and return how long that took, in milliseconds."""
    begin = time.perf_counter()
    # In another folder, because `python -c` searches the current one first: this takes the installed raven. With a
    # timeout, subprocess would poll for the end of the process, and notice it up to 50 ms too late.
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begin) * 1000
