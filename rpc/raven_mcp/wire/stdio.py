"""Stdio: the lines of the host on stdin and of the server on stdout, of which nothing else gets a part."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from raven_mcp.wire.loop import READ, WRITE, Loop
from raven_rpc.jsonrpc.framing import Lines

MAX_LINE = 4 * 1024 * 1024
_READ_SIZE = 64 * 1024
# With so many bytes unread by the host, no more requests of it are read.
_MAX_UNREAD = 1024 * 1024
# For the last lines, if the host reads no more.
_FAREWELL_S = 2.0
_STDIN, _STDOUT, _STDERR = 0, 1, 2


class Streams(NamedTuple):
    """The descriptors of the protocol, which no child inherits."""

    input: int
    output: int


class ClosedStreamError(OSError):
    """Stdin or stdout is not open at the start."""


def take() -> Streams:
    """Move stdin and stdout to other descriptors: a `print` goes to stderr, and a child reads nothing of the host.

    Raises ClosedStreamError.
    """
    # The lowest number that is free: one of the streams, if it is closed.
    null = os.open(os.devnull, os.O_RDWR)
    if null <= _STDOUT:
        raise ClosedStreamError("stdin or stdout is closed: start `raven mcp` with both, as an MCP host does")
    streams = Streams(os.dup(_STDIN), os.dup(_STDOUT))
    os.dup2(null, _STDIN)
    os.dup2(_STDERR, _STDOUT)
    if null == _STDERR:
        os.set_inheritable(null, True)
    else:
        os.close(null)
    return streams


class _Outgoing(NamedTuple):
    line: memoryview
    on_written: Callable[[], object] | None


class Stdio:
    """Calls `on_line` for each line of the host, None for one that is too long, and never waits for the host to read.

    `has_ended` is set at the end of stdin, and when the host has closed stdout.
    """

    def __init__(self, loop: Loop, streams: Streams, on_line: Callable[[bytes | None], object]) -> None:
        self._loop = loop
        self._streams = streams
        self._on_line = on_line
        self._lines = Lines(MAX_LINE)
        self._outgoing: deque[_Outgoing] = deque()
        self._unread = 0
        self._new_lines: Iterator[bytes | None] = iter(())
        self._writable = select.poll()
        self._writable.register(streams.output, select.POLLOUT)
        self._is_closed = select.poll()
        self._is_closed.register(streams.input, 0)  # reports only that its other end is closed
        self.has_ended = False
        loop.watch(streams.input, self._read, READ)

    def _read(self) -> None:
        try:
            data = os.read(self._streams.input, _READ_SIZE)
        except OSError:
            data = b""
        if data:
            self._new_lines = self._lines.cut(data)
            self._take_lines()
            return
        rest = self._lines.rest()
        if rest:
            self._on_line(rest)
        self._end()

    def _take_lines(self) -> None:
        """Hand on the lines that were read; with too much unread by the host, read no more."""
        for line in self._new_lines:
            self._on_line(line)
            if self._unread > _MAX_UNREAD:
                self._loop.unwatch(self._streams.input)
                return
        if not self.has_ended:
            self._loop.watch(self._streams.input, self._read, READ)

    def write(self, line: bytes, on_written: Callable[[], object] | None = None) -> None:
        """Write one line, later if the host does not read now; then call back."""
        self._outgoing.append(_Outgoing(memoryview(line), on_written))
        self._unread += len(line)
        if len(self._outgoing) == 1:
            self._flush()
            if self._outgoing and not self.has_ended:
                self._loop.watch(self._streams.output, self._go_on, WRITE)

    def _go_on(self) -> None:
        """Write on, now that the host reads; then take up its requests again."""
        self._flush()
        if not self._outgoing and not self.has_ended:
            self._loop.unwatch(self._streams.output)
            self._take_lines()

    def _flush(self) -> None:
        while self._outgoing and self._writable.poll(0):
            line, on_written = self._outgoing[0]
            try:
                # So many bytes a writable pipe takes at once: pipe(7). A descriptor that does not block would be the
                # host's, too, or the terminal's.
                count = os.write(self._streams.output, line[: select.PIPE_BUF])
            except OSError:  # the host is gone
                self._outgoing.clear()
                self._end()
                return
            self._unread -= count
            if count < len(line):
                self._outgoing[0] = _Outgoing(line[count:], on_written)
                continue
            self._outgoing.popleft()
            if on_written is not None:
                on_written()

    def check(self) -> None:
        """Notice that the host has closed stdout, although there is nothing to write; or stdin, but reads no more."""
        if any(events & (select.POLLERR | select.POLLNVAL) for _, events in self._writable.poll(0)):
            self._end()
        if self._outgoing and self._is_closed.poll(0) and not self._writable.poll(0):
            self._end()

    def _end(self) -> None:
        self.has_ended = True
        self._loop.unwatch(self._streams.input)
        self._loop.unwatch(self._streams.output)

    def close(self) -> None:
        """Write the lines that are left, for two seconds at most."""
        self._end()
        until = time.monotonic() + _FAREWELL_S
        while self._outgoing and (left_s := until - time.monotonic()) > 0:
            self._writable.poll(left_s * 1000)
            self._flush()
