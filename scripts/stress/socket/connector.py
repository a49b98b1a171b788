"""Connect to a socket as often as possible: `python -m scripts.stress.socket.connector MODE SOCKET SECONDS`.

It prints the number of connections, and the number of failed attempts.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_PING = b'{"jsonrpc":"2.0","method":"ping","id":1}\n'


def close(connection: socket.socket) -> None:
    """Close at once."""


def half_close(connection: socket.socket) -> None:
    """Shut down the write side, and read to the end."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(1 << 16):
        pass


def reset(connection: socket.socket) -> None:
    """Request, and close with an unread response, which resets the connection."""
    connection.sendall(_PING)
    connection.recv(1)


def ask(connection: socket.socket) -> None:
    """Request, and read the response."""
    connection.sendall(_PING)
    connection.recv(1 << 16)


CLOSE_MODES: dict[str, Callable[[socket.socket], None]] = {
    "close": close,
    "half": half_close,
    "reset": reset,
    "ask": ask,
}


def main() -> None:
    _, mode, path, seconds = sys.argv
    connected = failed = 0
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(20)
            try:
                connection.connect(path)
            except OSError:  # the listen backlog is full
                failed += 1
                time.sleep(0.001)
                continue
            connected += 1
            with suppress(OSError):
                CLOSE_MODES[mode](connection)
    print(json.dumps([connected, failed]), flush=True)


if __name__ == "__main__":
    main()
