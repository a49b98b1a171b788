"""RavenProcess: a command of raven that runs until it is ended, as a process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from scripts.harness.deadline import DEADLINE_S, Deadline
from scripts.harness.program import descriptors, memory_mib


class RavenProcess:
    """The process of a command, which ends with the `with` block; its stderr is added to the file `log_path`.

    Of all `RAVEN*` variables the process sees only `environment`.
    """

    def __init__(self, log_path: str, environment: Mapping[str, str]) -> None:
        self._log_path = log_path
        self._environment = environment

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(self, command: Sequence[str], cwd: str | Path | None) -> None:
        """Start the process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAVEN")}
        with open(self._log_path, "ab") as log:
            # In its own process group, so that Ctrl-C reaches only this process, which then ends the other.
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**kept, **self._environment},
                cwd=cwd,
                process_group=0,
            )

    def wait_for_greeting(self, start: str, problem: str, timeout_s: float = DEADLINE_S) -> None:
        """Wait for the first line of stdout; ends the process, and AssertionError, unless it begins so, in time."""
        assert self.process.stdout is not None
        poller = select.poll()
        poller.register(self.process.stdout, select.POLLIN)
        greeting = self.process.stdout.readline() if Deadline(timeout_s).poll(poller) else ""
        if not greeting.startswith(start):
            self.kill()
            raise AssertionError(f"{problem}: {greeting!r} {self.log()[-500:]}")

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

    def log(self) -> str:
        """Return the stderr of the process so far."""
        return Path(self._log_path).read_text(encoding="utf-8", errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process by a signal, and return its exit code; raises subprocess.TimeoutExpired."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """Kill the process with SIGKILL, and reap it; a second call does nothing."""
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """End the process, and close its pipe; a second call does nothing."""
        # Coverage data is written only at an orderly end (see scripts/coverage).
        if "COVERAGE_PROCESS_CONFIG" in os.environ and self.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
