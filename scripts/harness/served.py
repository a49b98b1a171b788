"""Served: `raven serve` as a process, from its start to its end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from scripts.harness.line import Line
from scripts.harness.raven_process import RavenProcess


class Served(RavenProcess):
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
        super().__init__(f"{self.path}.log", environment)
        self.start()

    def start(self) -> None:
        """Start the server, or start it again after its end; AssertionError if it does not listen in time."""
        command = [sys.executable, "-m", "raven", "serve", "--db", self.db, "--socket", self.path, *self._options]
        self.run(command, self._cwd)
        self.wait_for_greeting("listening at ", f"{self.path} is not served")

    def connect(self) -> Line:
        """Return a new connection."""
        return Line(self.path)

    def ask(self, method: str, params: Any = None) -> Any:
        """Call a method over a new connection, and return its result; AssertionError if the response is an error."""
        with self.connect() as line:
            return line.ask(method, params)
