"""A stand-in for a server that dies with the answer to each request on its lips."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.support import DEADLINE_S


@contextmanager
def dying(path: str) -> Iterator[list[Any]]:
    """Listen at a path, and yield each request: every connection ends when its first request has come."""
    asked: list[Any] = []

    def run() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, connection.makefile() as lines:
                    asked.append(json.loads(lines.readline()))

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield asked
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)
