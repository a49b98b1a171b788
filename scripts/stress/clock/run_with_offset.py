"""Run a program with a clock that is off: `shifted FILE MODULE|PATH.py ARGUMENTS...`.

A trial must not set the system's clock: it is that of the whole machine, few have the right, and the time namespaces of
Linux shift only the clocks that no step can reach. So the one function by which raven reads the time of day (a test
holds that there is no other) adds what the FILE says, which all processes of a trial share as memory: a step comes to
all at the same moment, in whatever they just do, as one of the system's clock does. Nothing else is replaced: SQLite,
files, sockets, and the monotonic clock, which no step of the other moves, are the real ones. Not shifted are the times
of files, and SQLite's own `now` in `outbox` and `pending`.
"""

from __future__ import annotations

import runpy
import sys

from raven.model import clock
from scripts.stress.clock.clock_offset import Shift


def main() -> None:
    _, path, program, *arguments = sys.argv
    shift, read = Shift(path), clock.now
    clock.now = lambda: read() + shift.micros()
    sys.argv = [program, *arguments]
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
