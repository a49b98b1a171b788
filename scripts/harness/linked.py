"""Linked: `raven link` as a process, from its start to its end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from scripts.harness.deadline import DEADLINE_S, Deadline
from scripts.harness.program import cpu_s, descriptors, memory_mib


class Linked:
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
        self._environment = environment
        self.start(waits=waits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self, *, waits: bool = True) -> None:
        """Start the relay, or start it again after its end; AssertionError if it is not linked in time."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAVEN")}
        command = [*self._command, "link", self.url, "--name", self.name, "--db", self.db]
        with open(f"{self.db}.link.log", "ab") as log:
            # In its own process group, so that Ctrl-C reaches only this process, which then ends the relay.
            self.process = subprocess.Popen(
                [*command, *self._options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**kept, **self._environment},
                cwd=Path(self.db).parent,
                process_group=0,
            )
        if waits:
            self.wait_until_linked()

    def wait_until_linked(self, timeout_s: float = DEADLINE_S) -> None:
        """Wait until the relay says that the bus is linked; AssertionError if it does not in time."""
        assert self.process.stdout is not None
        poller = select.poll()
        poller.register(self.process.stdout, select.POLLIN)
        greeting = self.process.stdout.readline() if Deadline(timeout_s).poll(poller) else ""
        if not greeting.startswith("linked as "):
            self.kill()
            raise AssertionError(f"{self.name} is not linked: {greeting!r} {self.log()[-500:]}")

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

    def cpu_s(self) -> float:
        """Return the CPU time of the process so far; RuntimeError if it has ended."""
        return cpu_s(self.pid)

    def status(self) -> dict[str, Any]:
        """Return the last status that the relay has written; empty before the first."""
        with suppress(FileNotFoundError):
            content: dict[str, Any] = json.loads(Path(f"{self.db}-bells/link.json").read_text(encoding="utf-8"))
            return content
        return {}

    def log(self) -> str:
        """Return the stderr of the relay so far."""
        return Path(f"{self.db}.link.log").read_text(encoding="utf-8", errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the relay by a signal, and return its exit code; raises subprocess.TimeoutExpired."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """Kill the relay with SIGKILL, and reap it; a second call does nothing."""
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """End the relay, and close its pipe; a second call does nothing."""
        # Coverage data is written only at an orderly end (see scripts/coverage).
        if "COVERAGE_PROCESS_CONFIG" in os.environ and self.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
