"""Helper: `raven serve` as a process of a trial, what it holds, and bare connections to it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DEADLINE_S = 20.0
_ROOT = Path(__file__).parents[3]
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Helper:
    """A helper that listens when this is entered, and is no more when it is left; `log` is what it said on stderr."""

    def __init__(self, db: Path, *options: str, path: Path | None = None) -> None:
        self.db = db
        self.path = str(path or f"{db}.sock")
        self._options = options
        self._log = Path(f"{self.path}.log")

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start it; raises RuntimeError where it does not listen in time."""
        command = [sys.executable, "-m", "raven", "serve", "--db", str(self.db), "--socket", self.path, *self._options]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAVEN")}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, cwd=_ROOT, env=environment, process_group=0
            )
        assert self.process.stdout is not None
        poller = select.poll()
        poller.register(self.process.stdout, select.POLLIN)
        said = self.process.stdout.readline() if poller.poll(1000 * DEADLINE_S) else b""
        if not said.startswith(b"listening at "):
            self.kill()
            raise RuntimeError(f"the helper does not listen: {said!r} {self.log()[-500:]}")

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self.process.pid

    def log(self) -> str:
        """Return what it has said on stderr."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def memory_mib(self) -> float:
        """Return the memory that it holds, see proc(5); 0 where there is no /proc."""
        with suppress(OSError):
            return int(Path(f"/proc/{self.pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE / 2**20
        return 0.0

    def descriptors(self) -> int:
        """Return how many descriptors it has open; 0 where there is no /proc."""
        with suppress(OSError):
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        return 0

    def ask(self, method: str, params: Any = ()) -> Any:
        """Call a method over a connection of its own and return the result; raises RuntimeError for an error."""
        line = {"jsonrpc": "2.0", "method": method, "params": params if params else {}, "id": 1}
        answer = json.loads(talk(self.path, json.dumps(line).encode() + b"\n"))
        if "result" not in answer:
            raise RuntimeError(f"{method} failed: {answer['error']}")
        return answer["result"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Have it end, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """Kill it with -9; twice is fine."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def connect(path: str) -> socket.socket:
    """Return a connection to a socket; each step of it has a deadline."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(DEADLINE_S)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def talk(path: str, data: bytes) -> bytes:
    """Write some bytes over a connection of its own, end, and return what comes up to the close.

    It writes and reads by turns: a helper that is not read from reads no further.
    """
    with connect(path) as connection:
        return converse(connection, data)


def converse(connection: socket.socket, data: bytes) -> bytes:
    """Do as `talk` does on a connection that is there; raises TimeoutError where it does not come to its end."""
    found = bytearray()
    left = memoryview(data)
    has_ended = False
    connection.setblocking(False)
    poller = select.poll()
    deadline = time.monotonic() + DEADLINE_S
    while True:
        poller.register(connection, select.POLLIN | (0 if has_ended else select.POLLOUT))
        if not poller.poll(1000 * max(0.0, deadline - time.monotonic())):
            raise TimeoutError(f"the connection was not closed within {DEADLINE_S:g} s; so far {bytes(found[:200])!r}")
        if not has_ended:
            try:
                left = left[connection.send(left[: 1 << 18]) :] if left else left
                if not left:
                    connection.shutdown(socket.SHUT_WR)
                    has_ended = True
            except BlockingIOError:
                pass
            except OSError:  # it has closed: what it said before is still to be read
                has_ended = True
        with suppress(BlockingIOError):
            try:
                more = connection.recv(1 << 18)
            except ConnectionResetError:
                more = b""
            if not more:
                return bytes(found)
            found += more


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for something; raises TimeoutError where it does not come."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {DEADLINE_S:g} s in vain for {what}")
        time.sleep(0.01)
