"""Linked: `raven link` as a process, from its start to its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from scripts.harness.deadline import DEADLINE_S
from scripts.harness.program import cpu_s
from scripts.harness.raven_process import RavenProcess


class Linked(RavenProcess):
    """`raven link` for a bus, with options of that command; the constructor waits until the bus is linked.

    Without `waits` it does not, as for a server that cannot be reached yet. The relay ends with the `with` block. Of
    all `RAVEN*` variables it sees only `environment`. `command` is that of raven.
    """

    def __init__(
        self,
        db: str | Path,
        url: str,
        name: str,
        *options: str,
        waits: bool = True,
        command: Sequence[str] = (sys.executable, "-m", "raven"),
        **environment: str,
    ) -> None:
        self.db, self.url, self.name = str(db), url, name
        self._options = options
        self._command = command
        super().__init__(f"{self.db}.link.log", environment)
        self.start(waits=waits)

    def start(self, *, waits: bool = True) -> None:
        """Start the relay, or start it again after its end; AssertionError if it is not linked in time."""
        self.run(
            [*self._command, "link", self.url, "--name", self.name, "--db", self.db, *self._options],
            Path(self.db).parent,
        )
        if waits:
            self.wait_until_linked()

    def wait_until_linked(self, timeout_s: float = DEADLINE_S) -> None:
        """Wait until the relay says that the bus is linked; AssertionError if it does not in time."""
        self.wait_for_greeting("linked as ", f"{self.name} is not linked", timeout_s)

    def cpu_s(self) -> float:
        """Return the CPU time of the process so far; RuntimeError if it has ended."""
        return cpu_s(self.pid)

    def status(self) -> dict[str, Any]:
        """Return the last status that the relay has written; empty before the first."""
        with suppress(FileNotFoundError):
            content: dict[str, Any] = json.loads(Path(f"{self.db}-bells/link.json").read_text(encoding="utf-8"))
            return content
        return {}
