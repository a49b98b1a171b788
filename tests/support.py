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
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from raven.wake.doorbell import Doorbells

PROGRAMS = Path(__file__).parent / "programs"
# Far more than anything here needs, and far less than the poll interval of a subscriber that must be woken.
DEADLINE_S = 20.0
NEVER_POLLS_S = 60.0


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
    """Return the first true value of a condition; fails when the deadline passes without one."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for: {what}"
        time.sleep(0.005)
    return value


class Program:
    """A program of tests/programs in a process of its own; each line of its output is one JSON value."""

    def __init__(self, name: str, *arguments: object, umask: int = -1) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / f"{name}.py"), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            umask=umask,
        )
        self._buffer = b""
        self.pid = self._process.pid

    def fileno(self) -> int:
        assert self._process.stdout
        return self._process.stdout.fileno()

    def read(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return the next line's value; fails where none comes in time."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the program {self._process.args} was silent for {timeout_s:g} s"
            assert self._fill(), f"the program {self._process.args} ended"
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def read_rest(self) -> list[Any]:
        """Return the values of all lines up to the end of the program's output."""
        while self._fill():
            pass
        lines, self._buffer = self._buffer.splitlines(), b""
        return [json.loads(line) for line in lines]

    def take_lines(self) -> list[Any]:
        """Return the values of the whole lines that are there, after one read."""
        self._fill()
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines]

    def tell(self, value: Any = None) -> None:
        """Write one line to the program's input."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(value).encode() + b"\n")
        self._process.stdin.flush()

    def ask(self, value: Any) -> Any:
        """Write one line and return the answer."""
        self.tell(value)
        return self.read()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Return the exit code of a program that ends by itself."""
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """Kill the program with -9 and reap it."""
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def close(self) -> None:
        # What it has run is known only when it ends by itself (see scripts/coverage).
        if "COVERAGE_PROCESS_CONFIG" in os.environ:
            with suppress(BrokenPipeError, subprocess.TimeoutExpired):
                assert self._process.stdin
                self._process.stdin.close()
                self.wait(1)
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            with suppress(BrokenPipeError):
                stream.close()

    def _fill(self) -> bool:
        data = os.read(self.fileno(), 1 << 16)
        self._buffer += data
        return bool(data)


def read_all(programs: Iterable[Program], count: int, timeout_s: float = DEADLINE_S) -> dict[Program, list[Any]]:
    """Read lines from many programs at once until they have written `count` of them together."""
    lines: dict[Program, list[Any]] = {program: [] for program in programs}
    deadline = time.monotonic() + timeout_s
    while (found := sum(map(len, lines.values()))) < count:
        ready, _, _ = select.select(list(lines), [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{found} of {count} lines came within {timeout_s:g} s"
        for program in ready:
            lines[program] += program.take_lines()
    return lines


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


def wait_for_watch(db: str, *programs: Program) -> None:
    """Wait until one of these programs watches the folder of the bus, on behalf of all."""
    wait_until(lambda: is_watched(db) and any(_has_inotify_watch(program.pid) for program in programs), "the watch")


def _has_inotify_watch(pid: int) -> bool:
    """Whether a process has a watch in an inotify instance, see proc(5); elsewhere than on Linux nobody can say."""
    if not os.path.isdir("/proc/self/fdinfo"):
        return True
    with suppress(OSError):
        return any("inotify wd:" in path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir())
    return False


def bells(db: str) -> list[str]:
    """Return the doorbells that hang, and any other file in the bells folder but the lock of the watch."""
    folder = f"{db}-bells"
    # os.walk passes over what is removed meanwhile.
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
    """Return how many descriptors this process has open; those of a watch that is closing are waited for."""

    def of_a_watch() -> bool:
        links = [os.path.join("/dev/fd", name) for name in os.listdir("/dev/fd")]
        return any("anon_inode" in os.readlink(link) for link in links if os.path.islink(link))

    wait_until(lambda: not of_a_watch(), "the end of a watch")
    return len(os.listdir("/dev/fd"))


def needs(*programs: str) -> None:
    """Skip a test where a program is not there; under CI, where it must be, fail instead."""
    for program in programs:
        if shutil.which(program) is None:
            assert not os.environ.get("CI"), f"the program {program} is not there, and CI must have it"
            pytest.skip(f"the program {program} is not there")
