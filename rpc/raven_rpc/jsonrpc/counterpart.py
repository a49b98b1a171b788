"""Counterpart: what the system tells of the program at the other end of a connection."""

from __future__ import annotations

import array
import asyncio
import fcntl
import select
import sys
import termios
from contextlib import suppress


def unread(transport: asyncio.WriteTransport) -> int:
    """Return how many bytes of what was written the other end has not read, as far as the system tells."""
    size = transport.get_write_buffer_size()
    if sys.platform == "linux":
        found = array.array("i", [0])
        with suppress(OSError):
            fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, found)
        size += found[0]
    return size


def is_gone(transport: asyncio.WriteTransport) -> bool:
    """Whether the other end has closed altogether, where it can be told from one that has only closed its half.

    Linux reports POLLHUP once nobody can read there any more (unix(7), poll(2)); elsewhere the answer is no.
    """
    if sys.platform != "linux":
        return False
    poller = select.poll()
    poller.register(transport.get_extra_info("socket").fileno(), 0)
    return any(event & select.POLLHUP for _, event in poller.poll(0))
