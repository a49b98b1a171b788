"""Run a program with a clock offset: `run_with_offset FILE MODULE|PATH.py ARGUMENTS...`.

A trial must not set the system's clock: all programs share it, few users may set it, and the time namespaces of Linux
do not cover the calendar clock. Only one function of raven reads the calendar time (a test checks this), and this
program makes it add the offset in FILE. All processes of a trial share FILE as memory. So a step reaches all of them at
the same moment, in the middle of any call, as a step of the system's clock does.

Nothing else is replaced: SQLite, files, sockets and the monotonic clock are real. File times, and SQLite's own `now` in
`outbox` and `pending`, have no offset.
"""

from __future__ import annotations

import runpy
import sys

from raven.model import clock
from scripts.stress.clock.clock_offset import ClockOffset


def main() -> None:
    _, path, program, *arguments = sys.argv
    offset, read = ClockOffset(path), clock.now
    clock.now = lambda: read() + offset.micros()
    sys.argv = [program, *arguments]
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
