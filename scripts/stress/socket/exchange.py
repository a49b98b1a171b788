"""Talk: bytes written to a helper, and all that it says to them."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress

from scripts.harness.deadline import DEADLINE_S
from scripts.harness.line import connect


def talk(path: str, data: bytes) -> bytes:
    """Write some bytes over a connection of its own, end, and return what comes up to the close.

    It writes and reads by turns: a helper that is not read from reads no further.
    """
    with connect(path) as connection:
        return converse(connection, data)


def converse(connection: socket.socket, data: bytes) -> bytes:
    """Do as `talk` does on a connection that is there; raises TimeoutError where it does not come to its end."""
    found = bytearray()
    left = memoryview(data)
    has_ended = False
    connection.setblocking(False)
    poller = select.poll()
    deadline = time.monotonic() + DEADLINE_S
    while True:
        poller.register(connection, select.POLLIN | (0 if has_ended else select.POLLOUT))
        if not poller.poll(1000 * max(0.0, deadline - time.monotonic())):
            raise TimeoutError(f"the connection was not closed within {DEADLINE_S:g} s; so far {bytes(found[:200])!r}")
        if not has_ended:
            try:
                left = left[connection.send(left[: 1 << 18]) :] if left else left
                if not left:
                    connection.shutdown(socket.SHUT_WR)
                    has_ended = True
            except BlockingIOError:
                pass
            except OSError:  # it has closed: what it said before is still to be read
                has_ended = True
        with suppress(BlockingIOError):
            try:
                more = connection.recv(1 << 18)
            except ConnectionResetError:
                more = b""
            if not more:
                return bytes(found)
            found += more
