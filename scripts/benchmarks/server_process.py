"""Server process of a benchmark, from its start to its end."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Literal

from scripts.harness.program import Program

_DEADLINE_S = 30


class ServerProcess(Program):
    """A process of `server.py`; inside the `with` block it listens."""

    def __init__(self, folder: Path, kind: Literal["raven", "alone", "echo", "inserts"] = "raven") -> None:
        self.db = str(folder / f"{kind}.db")
        self.path = str(folder / f"{kind}.sock")
        super().__init__("benchmarks.server", kind, self.db, self.path, greets=True)

    def connect(self) -> socket.socket:
        """Return a new connection; a late response raises BlockingIOError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The timeout of Python sockets needs one more system call for each read.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _DEADLINE_S, 0))
        connection.connect(self.path)
        return connection


def wait_for_response(connection: socket.socket) -> bytes:
    """Read one line."""
    data = b""
    while not data.endswith(b"\n"):
        read = connection.recv(1 << 16)
        if not read:
            raise RuntimeError("the server has closed the connection")
        data += read
    return data
