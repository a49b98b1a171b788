"""Supervisor: keeps the server process, and its listening socket, so that a restart refuses no request."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from types import TracebackType
from typing import Self

STOP_WITHIN_S = 10.0
SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "server.py")


class Supervisor:
    """The server process, as a context manager: it runs inside the block and ends with it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = "127.0.0.1:{1}".format(*self._listener.getsockname())

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._listener.close()

    @property
    def pid(self) -> int:
        return self._server.pid

    def restart(self) -> None:
        self._stop()
        self._start()

    def _start(self) -> None:
        descriptor = self._listener.fileno()
        self._server = subprocess.Popen(
            [sys.executable, SERVER, self._folder, str(descriptor)], stdin=subprocess.PIPE, pass_fds=[descriptor]
        )

    def _stop(self) -> None:
        """Close the standard input of the server, which ends it; kill it if it does not end in time."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        try:
            self._server.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
