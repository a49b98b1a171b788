"""Line: a plain connection to a socket, as any language has it: bytes out, lines of JSON in."""

from __future__ import annotations

import json
import select
import socket
from typing import Any, Self

from scripts.harness.deadline import DEADLINE_S, Deadline


def request(method: str, params: Any = None, id: Any = None) -> bytes:
    """Return a request as a line, or a notification without an id."""
    message = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = params
    if id is not None:
        message["id"] = id
    return json.dumps(message).encode() + b"\n"


def connect(path: str) -> socket.socket:
    """Return a connection to a socket; each of its operations has a deadline."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(DEADLINE_S)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


class Line:
    """A connection in lines, each with a deadline; raises AssertionError if the server breaks the protocol."""

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
        """Write bytes unchanged, or a text with a newline."""
        self.socket.sendall(data if isinstance(data, bytes) else data.encode() + b"\n")

    def tell(self, method: str, params: Any = None, id: Any = None) -> None:
        """Write a request, or a notification without an id."""
        self.write(request(method, params, id))

    def read(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return the value of the next line, or None at the end of the connection; AssertionError after `timeout_s`."""
        line = self.read_line(timeout_s)
        return None if line is None else json.loads(line)

    def read_line(self, timeout_s: float = DEADLINE_S) -> bytes | None:
        """Return the next line as bytes without its newline; otherwise as `read`."""
        deadline = Deadline(timeout_s)
        while b"\n" not in self._buffer:
            assert deadline.poll(self._poller()), f"no line within {timeout_s:g} s; so far {self._buffer[:200]!r}"
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
        """Return the next response; notifications before it go to `pushed`."""
        while True:
            message = self.read(timeout_s)
            if not isinstance(message, dict) or "method" not in message:
                return message
            self.pushed.append(message)

    def ask(self, method: str, params: Any = None) -> Any:
        """Call a method, and return its result; AssertionError if the response is an error."""
        return self._call(method, params, "result")

    def error(self, method: str, params: Any = None) -> Any:
        """Call a method that must fail, and return the error object."""
        return self._call(method, params, "error")

    def _call(self, method: str, params: Any, kind: str) -> Any:
        self._last += 1
        self.tell(method, params, id=self._last)
        response = self.answer()
        assert response is not None, "the connection ended"
        assert kind in response, response
        assert response["id"] == self._last
        return response[kind]

    def push(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return the params of the next notification, with its method."""
        message = self.pushed.pop(0) if self.pushed else self.read(timeout_s)
        assert message is not None, "the connection ended"
        assert "method" in message, message
        return {"method": message["method"], **message["params"]}

    def is_silent(self, for_s: float) -> bool:
        """Return whether the server writes nothing for `for_s` seconds."""
        return not self.pushed and not self._buffer and not self._is_readable(for_s)

    def _is_readable(self, timeout_s: float) -> bool:
        return bool(self._poller().poll(1000 * timeout_s))

    def _poller(self) -> select.poll:
        poller = select.poll()  # select refuses descriptors above 1023
        poller.register(self.socket, select.POLLIN)
        return poller

    def half_close(self) -> None:
        """Close the write side of the connection."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self.socket.close()
