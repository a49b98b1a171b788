"""Exchange: bytes written to a server, and all bytes of its answer."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress

from scripts.harness.deadline import DEADLINE_S
from scripts.harness.line import connect


def exchange(path: str, data: bytes) -> bytes:
    """Write some bytes over a new connection, end the input, and return all bytes up to the close.

    It writes and reads by turns, because a server stops reading from a client that does not read.
    """
    with connect(path) as connection:
        return exchange_on(connection, data)


def exchange_on(connection: socket.socket, data: bytes) -> bytes:
    """Exchange on an open connection; raises TimeoutError if the server does not close it."""
    received = bytearray()
    remaining = memoryview(data)
    has_ended = False
    connection.setblocking(False)
    poller = select.poll()
    deadline = time.monotonic() + DEADLINE_S
    while True:
        poller.register(connection, select.POLLIN | (0 if has_ended else select.POLLOUT))
        if not poller.poll(1000 * max(0.0, deadline - time.monotonic())):
            raise TimeoutError(
                f"the connection was not closed within {DEADLINE_S:g} s; so far {bytes(received[:200])!r}"
            )
        if not has_ended:
            try:
                remaining = remaining[connection.send(remaining[: 1 << 18]) :] if remaining else remaining
                if not remaining:
                    connection.shutdown(socket.SHUT_WR)
                    has_ended = True
            except BlockingIOError:
                pass
            except OSError:  # the server has closed the connection; its last bytes can still be read
                has_ended = True
        with suppress(BlockingIOError):
            try:
                more = connection.recv(1 << 18)
            except ConnectionResetError:
                more = b""
            if not more:
                return bytes(received)
            received += more
