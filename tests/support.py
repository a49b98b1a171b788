"""What the tests share: programs that run beside them, foreign SQLite clients, and waiting with a deadline.

No test may open a bus with Python's `sqlite3` in its own process: two copies of SQLite in one process drop each
other's locks. `Foreign` is such a client in a process of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

from raven import BusClient
from raven.wake.doorbell import Doorbells
from raven.wake.watcher import ending
from scripts.harness.deadline import DEADLINE_S, Deadline, wait_until
from scripts.harness.program import Program as ProgramInLines
from scripts.harness.served import Served

_T = TypeVar("_T")
PROGRAMS = Path(__file__).parent / "programs"
# Far less than the poll interval of a subscriber that must be woken.
NEVER_POLLS_S = 60.0
# SQLite runs one instruction in about 20 ns.
_STEP = 100


class Program(ProgramInLines):
    """A program of tests/programs in a process of its own; each line of its output is one JSON value."""

    def __init__(self, name: str, *arguments: object, umask: int = -1) -> None:
        super().__init__(str(PROGRAMS / f"{name}.py"), *arguments, umask=umask)

    def read(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return the next line's value; fails if none comes in time."""
        return json.loads(self.line(timeout_s))

    def read_rest(self) -> list[Any]:
        """Return the values of all lines up to the end of the program's output."""
        while self.fill():
            pass
        assert self.read_so_far.endswith(b"\n") or not self.read_so_far, f"{self.name} ended within a line"
        return [json.loads(line) for line in self.lines()]

    def take_lines(self) -> list[Any]:
        """Return the values of the whole lines that are there, after one read."""
        self.fill()
        return [json.loads(line) for line in self.lines()]

    def tell(self, value: Any = None) -> None:
        """Write one line to the program's input."""
        super().tell(json.dumps(value))

    def ask(self, value: Any) -> Any:
        """Write one line and return the answer."""
        self.tell(value)
        return self.read()

    def close(self) -> None:
        # Coverage is written only when it ends by itself (see scripts/coverage).
        if "COVERAGE_PROCESS_CONFIG" in os.environ:
            with suppress(BrokenPipeError, subprocess.TimeoutExpired):
                self.close_input()
                self.wait(1)
        self.end()


def read_all(programs: Iterable[Program], count: int, timeout_s: float = DEADLINE_S) -> dict[Program, list[Any]]:
    """Read lines from many programs at once until they have written `count` of them together."""
    lines: dict[Program, list[Any]] = {program: [] for program in programs}
    deadline = Deadline(timeout_s)
    while (found := sum(map(len, lines.values()))) < count:
        ready, _, _ = select.select(list(lines), [], [], deadline.left_s())
        assert ready or deadline.left_s(), f"{found} of {count} lines came within {timeout_s:g} s"
        for program in ready:
            lines[program] += program.take_lines()
    return lines


@contextmanager
def closed_at_the_end(make: Callable[..., _T]) -> Iterator[Callable[..., _T]]:
    """Yield a function that makes what `make` does; in the end all of it is closed, in the order of its making."""
    made: list[Any] = []

    def make_one(*arguments: Any, **options: Any) -> _T:
        made.append(make(*arguments, **options))
        return made[-1]

    yield make_one
    for one in made:
        one.close()


class ForeignError(Exception):
    """What SQLite said to a foreign client, in its own words."""


class Foreign:
    """An SQLite client that is not raven: Python's `sqlite3`, in a process of its own."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def execute(self, sql: str, *params: Any) -> list[list[Any]]:
        """Run one statement, committed at once, and return its rows; raises ForeignError."""
        answer = self.program.ask([sql, params])
        if "error" in answer:
            raise ForeignError(answer["error"])
        return answer["rows"]

    def value(self, sql: str, *params: Any) -> Any:
        return self.execute(sql, *params)[0][0]

    def send(self, to: str, body: Any = None, **columns: Any) -> None:
        """Send as the README tells users of other languages: one INSERT INTO outbox."""
        row = {"sender": "stranger:abroad", "recipient": to, "type": "note", "body": json.dumps(body), **columns}
        self.execute(f"INSERT INTO outbox ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", *row.values())


def hold_with_a_lease(program: Program, foreign: Foreign, hold_after: int) -> list[Any]:
    """Let a subscriber with `hold_after` go on until it holds a message while more are leased; returns its lines."""
    lines = [program.read() for _ in range(hold_after)]
    while not leased(foreign):
        program.tell()
        lines.append(program.read())
    return lines


def leased(foreign: Foreign) -> int:
    """Return how many deliveries are under a lease: fetched by a subscription and not handed out."""
    return foreign.value("SELECT count(*) FROM deliveries WHERE state < 2 AND lease IS NOT NULL")


def waiting(db: str, address: str) -> int:
    """Return how many subscribers wait at an address."""
    return Doorbells(db).count_waiting(address)


def wait_for_waiting(db: str, address: str, count: int = 1) -> None:
    wait_until(lambda: waiting(db, address) >= count, f"{count} subscribers at {address}")


def wait_for_watch(db: str, *programs: ProgramInLines | Served) -> None:
    """Wait until one of these programs watches the folder of the bus, on behalf of all."""
    wait_until(lambda: is_watched(db) and any(_has_inotify_watch(program.pid) for program in programs), "the watch")


def _has_inotify_watch(pid: int) -> bool:
    """Whether a process has a watch in an inotify instance, see proc(5). Assumed on systems other than Linux."""
    if not os.path.isdir("/proc/self/fdinfo"):
        return True
    with suppress(OSError):
        return any("inotify wd:" in path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir())
    return False


def bells(db: str) -> list[str]:
    """Return the doorbells that hang, and any other file in the bells folder but the lock of the watch."""
    folder = f"{db}-bells"
    # os.walk passes over folders that are removed meanwhile.
    paths = [os.path.join(place, name) for place, folders, files in os.walk(folder) for name in folders + files]
    return sorted(os.path.relpath(path, folder) for path in paths if not path.endswith("/watch.lock"))


def is_watched(db: str) -> bool:
    """Whether a process holds the election lock of the WAL watch."""
    try:
        lock = os.open(f"{db}-bells/watch.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def descriptors() -> int:
    """Return how many descriptors this process has open, once a closing watch has closed its own."""

    def threads() -> list[str]:
        found = []
        for path in Path("/proc/self/task").glob("*/comm"):
            with suppress(OSError):  # of a thread that ends meanwhile
                found.append(path.read_text())
        return found

    wait_until(lambda: not any(thread.is_alive() for thread in list(ending)), "the end of a watching thread")
    # The thread of a watch has closed its descriptors when it ends.
    wait_until(lambda: not any(name.startswith("notify-rs") for name in threads()), "the end of a watch")
    return len(os.listdir("/dev/fd"))


def raven_threads() -> list[str]:
    """Return the names of the threads of raven; an event loop does not wait for their end."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("raven")]


def needs(*programs: str) -> None:
    """Skip a test if a program is neither in this Python environment nor on the PATH; fail under CI, which has all."""
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    for program in programs:
        if shutil.which(program, path=path) is None:
            assert not os.environ.get("CI"), f"the program {program} is not there, and CI must have it"
            pytest.skip(f"the program {program} is not there")


@contextmanager
def instructions(bus: BusClient) -> Iterator[Callable[[], int]]:
    """Count the instructions that SQLite runs for a client, in hundreds."""
    steps = count()
    connection = bus._store.use(lambda connection: connection)

    def note() -> bool:
        next(steps)
        return False

    connection.set_progress_handler(note, _STEP)
    yield lambda: next(steps) * _STEP
    connection.set_progress_handler(None)
