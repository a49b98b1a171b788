"""Server: the program that a peer needs in addition to its package, from its start to its end."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts.benchmarks.peers.peer import PeerMissingError

_DEADLINE_S = 10
# The PATH of a user may lack the folders in which servers are installed.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])


class Server:
    """A server process with the working folder `folder`; it ends with the `with` block."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        program = shutil.which(name, path=_PATH)
        if program is None:
            raise PeerMissingError(f"{name} is not installed")
        self._name = name
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Wait until `is_ready` returns True; raises PeerMissingError if the server ends or takes more than 10 s."""
        deadline = time.monotonic() + _DEADLINE_S
        while not is_ready():
            if self._process.poll() is not None:
                raise PeerMissingError(f"{self._name} ended at once, with status {self._process.returncode}")
            if time.monotonic() > deadline:
                raise PeerMissingError(f"{self._name} was not ready within {_DEADLINE_S} s")
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
