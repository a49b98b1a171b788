"""A helper in a process of its own, and a client that speaks to it in bare lines."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.support import DEADLINE_S


class Line:
    """A bare connection to a socket: bytes out, lines in, each with a deadline."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(path)
        self.pushed: list[Any] = []
        self._buffer = b""
        self._last = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, data: bytes | str) -> None:
        """Write bytes as they are; a text gets its newline."""
        self.socket.sendall(data if isinstance(data, bytes) else data.encode() + b"\n")

    def tell(self, method: str, params: Any = None, id: Any = None) -> None:
        """Write a request, or a notification where there is no id."""
        shape = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            shape["params"] = params
        if id is not None:
            shape["id"] = id
        self.write(json.dumps(shape))

    def read(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return the next line's value; fails where none comes in time, returns None where the connection ended."""
        line = self.read_line(timeout_s)
        return None if line is None else json.loads(line)

    def read_line(self, timeout_s: float = DEADLINE_S) -> bytes | None:
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            assert self._is_readable(max(0.0, deadline - time.monotonic())), (
                f"nothing came within {timeout_s:g} s; so far {self._buffer[:200]!r}"
            )
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self._buffer, f"the connection ended within a line: {self._buffer[:200]!r}"
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def answer(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return the next line that is no notification; those are kept in `pushed`."""
        while True:
            shape = self.read(timeout_s)
            if not isinstance(shape, dict) or "method" not in shape:
                return shape
            self.pushed.append(shape)

    def ask(self, method: str, params: Any = None) -> Any:
        """Call a method and return its result; fails on an error."""
        self._last += 1
        self.tell(method, params, id=self._last)
        shape = self.answer()
        assert shape is not None, "the connection ended"
        assert "result" in shape, shape
        assert shape["id"] == self._last
        return shape["result"]

    def error(self, method: str, params: Any = None) -> Any:
        """Call a method that must fail, and return its error object."""
        self._last += 1
        self.tell(method, params, id=self._last)
        shape = self.answer()
        assert "error" in shape, shape
        assert shape["id"] == self._last
        return shape["error"]

    def push(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return the params of the next notification."""
        shape = self.pushed.pop(0) if self.pushed else self.read(timeout_s)
        assert shape is not None, "the connection ended"
        assert "method" in shape, shape
        return {"method": shape["method"], **shape["params"]}

    def is_silent(self, for_s: float) -> bool:
        """Whether nothing comes for so long."""
        return not self.pushed and not self._buffer and not self._is_readable(for_s)

    def _is_readable(self, timeout_s: float) -> bool:
        poller = select.poll()  # there may be more descriptors than select takes
        poller.register(self.socket, select.POLLIN)
        return bool(poller.poll(1000 * timeout_s))

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()


class Served:
    """`raven serve` in a process of its own, listening when this is made."""

    def __init__(
        self, db: str, socket_path: str | None = None, *options: str, cwd: str | None = None, **environment: str
    ) -> None:
        self.db = db
        self.path = socket_path or f"{db}.sock"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAVEN")}
        arguments = ["--db", db, "--socket", self.path, *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "raven", "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=open(f"{self.path}.log", "ab"),  # noqa: SIM115 the child's
            text=True,
            env={**kept, **environment},
            cwd=cwd,
        )
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
        said = self.process.stdout.readline() if ready else ""
        assert said.startswith("listening at "), (said, self.log())

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self) -> Line:
        return Line(self.path)

    def ask(self, method: str, params: Any = None) -> Any:
        """Call a method over a connection of its own."""
        with self.connect() as line:
            return line.ask(method, params)

    def log(self) -> str:
        """Return what it wrote on stderr."""
        return Path(f"{self.path}.log").read_text(encoding="utf-8")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def close(self) -> None:
        # What it has run is known only when it ends in order (see scripts/coverage).
        if "COVERAGE_PROCESS_CONFIG" in os.environ and self.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        self.kill()
        assert self.process.stdout
        self.process.stdout.close()
