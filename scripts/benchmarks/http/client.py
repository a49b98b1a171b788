"""Client: prebuilt HTTP requests on a plain socket, and as little reading of the answers as is safe.

A client of a library would take more CPU time than the server that it measures.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, NamedTuple

_DEADLINE_S = 30
_HEAD_END, _LENGTH, _OK = b"\r\n\r\n", b"content-length:", b"HTTP/1.1 200 "


class Endpoint(NamedTuple):
    """The port of a server on 127.0.0.1, and the token that it wants; empty if it wants none."""

    port: int
    token: str = ""

    def connect(self) -> socket.socket:
        """Return a new connection; a late response raises BlockingIOError."""
        connection = socket.create_connection(("127.0.0.1", self.port), _DEADLINE_S)
        # The timeout of Python sockets needs one more system call for each read.
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _DEADLINE_S, 0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def get(self, path: str) -> bytes:
        """Return a request that asks for a path."""
        return self._head("GET", path) + b"\r\n"

    def post(self, path: str, body: Any) -> bytes:
        """Return a request with a JSON body."""
        content = json.dumps(body).encode()
        head = self._head("POST", path)
        return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content) + content

    def _head(self, verb: str, path: str) -> bytes:
        token = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        return f"{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{token}".encode()


class _Reader:
    """The bytes that a server writes on one connection; RuntimeError if an answer is not `200 OK`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unread = b""

    def _head(self) -> tuple[bytes, int]:
        """Return what is read so far, with at least one head, and where the head ends."""
        data = self._unread
        while (end := data.find(_HEAD_END)) < 0:
            data += self._read()
        start = end + len(_HEAD_END)
        if not data.startswith(_OK):
            raise RuntimeError(f"the server responded {data[: start + 500].decode(errors='replace')}")
        return data, start

    def _read(self) -> bytes:
        data = self._connection.recv(1 << 18)
        if not data:
            raise RuntimeError("the server has closed the connection")
        return data


class Answers(_Reader):
    """The answers on one connection, each with a Content-Length."""

    def next(self) -> bytes:
        """Return the body of the next answer."""
        data, start = self._head()
        end = start + self._length(data[:start])
        while len(data) < end:
            data += self._read()
        self._unread = data[end:]
        return data[start:end]

    def _length(self, head: bytes) -> int:
        _, found, rest = head.lower().partition(_LENGTH)
        if not found:
            raise RuntimeError(f"the server responded without a length: {head.decode(errors='replace')}")
        return int(rest.partition(b"\r\n")[0])


class EventStream(_Reader):
    """The answer to a request for events, which has no end."""

    def __init__(self, connection: socket.socket, request: bytes) -> None:
        super().__init__(connection)
        connection.sendall(request)
        data, start = self._head()
        self._unread = data[start:]

    def wait_for(self, message_id: int) -> None:
        """Wait for the event of a message, and drop all that came before it."""
        mark = b"\nid: %d." % message_id
        data = self._unread
        while (found := data.find(mark)) < 0:
            data = data[-len(mark) :] + self._read()
        self._unread = data[found + len(mark) :]
