"""Worker: one process of a stage, which is killed and restarted."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time

from stages import WAITS

STAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stages.py")


class Worker:
    """A process of a stage, and its last printed state."""

    def __init__(self, stage: str, db_path: str, *options: str) -> None:
        self.stage = stage
        self._command = [sys.executable, STAGES, stage, db_path, *options]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        self._last_word = ""

    def wait_for(self, *words: str, within_s: float) -> bool:
        """Wait until its state is one of these; returns whether that happened in time."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + within_s
        while self._last_word not in words:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return False
            said = os.read(self._process.stdout.fileno(), 1 << 16)
            if not said:
                raise SystemExit(f"a process of the stage {self.stage} has ended by itself")
            self._last_word = said.split()[-1].decode()
        return True

    def kill(self) -> str:
        """Kill the process with -9; returns its state."""
        self._process.kill()
        said, _ = self._process.communicate()
        return said.split()[-1].decode() if said else self._last_word or WAITS
