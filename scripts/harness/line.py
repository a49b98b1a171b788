"""Line: a bare connection to a socket, as any language can have one: bytes out, lines of JSON in."""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any, Self

from scripts.harness.deadline import DEADLINE_S


def request(method: str, params: Any = None, id: Any = None) -> bytes:
    """Return a request as a line, or a notification if there is no id."""
    shape = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        shape["params"] = params
    if id is not None:
        shape["id"] = id
    return json.dumps(shape).encode() + b"\n"


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


class Line:
    """A connection in lines, each with a deadline; a promise of the protocol that is broken is an AssertionError."""

    def __init__(self, path: str) -> None:
        self.socket = connect(path)
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
        """Write a request, or a notification if there is no id."""
        self.write(request(method, params, id))

    def read(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return the next line's value; fails if none comes in time, returns None if the connection ended."""
        line = self.read_line(timeout_s)
        return None if line is None else json.loads(line)

    def read_line(self, timeout_s: float = DEADLINE_S) -> bytes | None:
        """Do as `read` does, and return the line as it came, without its newline."""
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
        return self._call(method, params, "result")

    def error(self, method: str, params: Any = None) -> Any:
        """Call a method that must fail, and return its error object."""
        return self._call(method, params, "error")

    def _call(self, method: str, params: Any, kind: str) -> Any:
        self._last += 1
        self.tell(method, params, id=self._last)
        shape = self.answer()
        assert shape is not None, "the connection ended"
        assert kind in shape, shape
        assert shape["id"] == self._last
        return shape[kind]

    def push(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return the params of the next notification, and its method."""
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
        """Write no more."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End the connection; twice is fine."""
        self.socket.close()
