"""A client of an event stream, as small as `curl -N`: a socket, one request, and the lines of the answer."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

from scripts.harness.deadline import DEADLINE_S


class Event(NamedTuple):
    """One event with its JSON value, and the last id that the stream has named."""

    name: str
    data: Any
    id: str | None


class EventStream:
    """The answer to `GET /events` with a query and further headers; iterates over its events.

    `id` is the last id so far, and `comments` are all comments. A stream that says nothing for DEADLINE_S fails.
    """

    def __init__(self, port: int, query: str = "", *headers: str, method: str = "GET", version: str = "1.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        lines = [f"{method} /events{query} HTTP/{version}", f"Host: 127.0.0.1:{port}", *headers, "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        self.id: str | None = None
        self.comments: list[str] = []
        self.text = b""  # read, and not yet returned
        self._raw = b""
        self._is_chunked = False
        self._is_over = False
        head = self._read_until(b"\r\n\r\n")
        self.status = int(head.split(b" ", 2)[1])
        self.headers = {
            name.decode().lower(): value.strip().decode()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        self._is_chunked = self.headers.get("transfer-encoding") == "chunked"
        self.text, self._raw = b"", self.text
        self._decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """Yield the events; ends with the connection."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            assert time.monotonic() < deadline, f"no event but heartbeats for {DEADLINE_S:g} s"
            try:
                block = self._read_until(b"\n\n").decode()
            except EOFError:
                return
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
            self.comments += re.findall(r"(?m)^: (.*)", block)
            # The last field of a name counts, as in a browser.
            self.id = fields.get("id", self.id)
            if "data" in fields:
                deadline = time.monotonic() + DEADLINE_S
                yield Event(fields["event"], json.loads(fields["data"]), self.id)

    def take(self, count: int) -> list[Event]:
        """Return the next events."""
        return [event for _, event in zip(range(count), self, strict=False)]

    def until(self, condition: Callable[[Event], object]) -> list[Event]:
        """Return the events up to the first that meets a condition."""
        events = []
        for event in self:
            events.append(event)
            if condition(event):
                return events
        raise AssertionError(f"the stream ended after {events[-3:]}")

    def wait_for_id(self) -> str:
        """Read until the stream has named a position: from there on it misses nothing."""
        deadline = time.monotonic() + DEADLINE_S
        while b"id: " not in self.text:
            assert time.monotonic() < deadline, self.text
            self.receive()
        return self.text.partition(b"id: ")[2].partition(b"\n")[0].decode()

    def close(self) -> None:
        self.socket.close()

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self.text:
            self.receive()
        part, _, self.text = self.text.partition(mark)
        return part

    def receive(self) -> bytes:
        """Read some bytes into `text`, and return them; raises EOFError at the end of the stream."""
        data = b"" if self._is_over else self.socket.recv(1 << 18)
        if not data:
            raise EOFError("the stream has ended")
        self._raw += data
        self._decode()
        return data

    def _decode(self) -> None:
        if not self._is_chunked:
            self.text, self._raw = self.text + self._raw, b""
        while self._is_chunked and b"\r\n" in self._raw:
            size, _, rest = self._raw.partition(b"\r\n")
            if len(rest) < int(size, 16) + 2:
                return
            self.text += rest[: int(size, 16)]
            self._raw = rest[int(size, 16) + 2 :]
            self._is_over = not int(size, 16)
