"""Served: a helper process as the benchmarks see it, from its start to its end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_PAGE = os.sysconf("SC_PAGE_SIZE")
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Served:
    """A process of `helper.py`; entered, it listens."""

    def __init__(self, folder: Path, kind: str = "raven") -> None:
        self.db = str(folder / f"{kind}.db")
        self.path = str(folder / f"{kind}.sock")
        program = [sys.executable, "-m", "scripts.benchmarks.helper", kind, self.db, self.path]
        self._process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        if self._process.stdout is None or not self._process.stdout.readline():
            raise RuntimeError("the helper did not start")
        return self

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self.path)
        return connection

    def cpu_s(self) -> float:
        """Return the CPU time that the process has used, see proc(5)."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS

    def memory_mib(self) -> float:
        """Return the memory that the process holds."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE / 2**20

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()


def request(number: int, method: str, params: Any) -> bytes:
    """Return a request as a line."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


def wait_for_answer(connection: socket.socket) -> Any:
    """Read one line."""
    data = b""
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 16)
    return json.loads(data)


def pause(seconds: float) -> float:
    """Let time pass, and return how much it was."""
    begin = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - begin
