"""Served: `raven serve` as a process, from its start to its end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from scripts.harness.deadline import DEADLINE_S
from scripts.harness.line import Line
from scripts.harness.program import descriptors, memory_mib


class Served:
    """`raven serve` for a bus, with options of that command; it listens when this is made, and is no more when left.

    The socket is `DB.sock` unless a path is given. Of the variables of raven it sees only those given here.
    """

    def __init__(
        self, db: str | Path, path: str | Path | None = None, *options: str, cwd: str | None = None, **environment: str
    ) -> None:
        self.db = str(db)
        self.path = str(path or f"{db}.sock")
        self._options = options
        self._cwd = cwd
        self._environment = environment
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it, again if it was ended; fails if it does not listen in time."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAVEN")}
        command = [sys.executable, "-m", "raven", "serve", "--db", self.db, "--socket", self.path, *self._options]
        with open(f"{self.path}.log", "ab") as log:
            # In a group of its own: Ctrl-C is this process's to hear, and to end the others.
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**kept, **self._environment},
                cwd=self._cwd,
                process_group=0,
            )
        assert self.process.stdout is not None
        poller = select.poll()
        poller.register(self.process.stdout, select.POLLIN)
        said = self.process.stdout.readline() if poller.poll(1000 * DEADLINE_S) else ""
        if not said.startswith("listening at "):
            self.kill()
            raise AssertionError(f"{self.path} is not served: {said!r} {self.log()[-500:]}")

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is no more."""
        return self.process.poll() is not None

    def memory_mib(self) -> float:
        """Return the memory that the process holds; 0 if that cannot be known."""
        return memory_mib(self.pid)

    def descriptors(self) -> int:
        """Return how many descriptors the process has open; 0 if that cannot be known."""
        return descriptors(self.pid)

    def connect(self) -> Line:
        """Return a new connection."""
        return Line(self.path)

    def ask(self, method: str, params: Any = None) -> Any:
        """Call a method over a connection of its own, and return its result; fails on an error."""
        with self.connect() as line:
            return line.ask(method, params)

    def log(self) -> str:
        """Return what it has said on stderr."""
        return Path(f"{self.path}.log").read_text(encoding="utf-8", errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Have it end by a signal, and return its exit code; raises subprocess.TimeoutExpired."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """Kill it with -9, and reap it; twice is fine."""
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """End it, and close the pipe to it; twice is fine."""
        # What it has run is known only when it ends in order (see scripts/coverage).
        if "COVERAGE_PROCESS_CONFIG" in os.environ and self.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
