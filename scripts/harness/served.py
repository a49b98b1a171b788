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
    """`raven serve` for a bus, with options of that command; the constructor waits until the server listens.

    The server ends with the `with` block. The socket is `DB.sock` unless `path` is another one. Of all `RAVEN*`
    variables the server sees only `environment`.
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
        """Start the server, or start it again after its end; AssertionError if it does not listen in time."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAVEN")}
        command = [sys.executable, "-m", "raven", "serve", "--db", self.db, "--socket", self.path, *self._options]
        with open(f"{self.path}.log", "ab") as log:
            # In its own process group, so that Ctrl-C reaches only this process, which then ends the server.
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
        greeting = self.process.stdout.readline() if poller.poll(1000 * DEADLINE_S) else ""
        if not greeting.startswith("listening at "):
            self.kill()
            raise AssertionError(f"{self.path} is not served: {greeting!r} {self.log()[-500:]}")

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def memory_mib(self) -> float:
        """Return the resident memory of the process; 0 if it is unknown."""
        return memory_mib(self.pid)

    def descriptors(self) -> int:
        """Return the number of open descriptors of the process; 0 if it is unknown."""
        return descriptors(self.pid)

    def connect(self) -> Line:
        """Return a new connection."""
        return Line(self.path)

    def ask(self, method: str, params: Any = None) -> Any:
        """Call a method over a new connection, and return its result; AssertionError if the response is an error."""
        with self.connect() as line:
            return line.ask(method, params)

    def log(self) -> str:
        """Return the stderr of the server so far."""
        return Path(f"{self.path}.log").read_text(encoding="utf-8", errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the server by a signal, and return its exit code; raises subprocess.TimeoutExpired."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """Kill the server with SIGKILL, and reap it; a second call does nothing."""
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """End the server, and close its pipe; a second call does nothing."""
        # Coverage data is written only at an orderly end (see scripts/coverage).
        if "COVERAGE_PROCESS_CONFIG" in os.environ and self.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
