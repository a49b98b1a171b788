"""Async wire: one connection to the helper that does not block the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from raven import LimitError, LostError, UnreachableError
from raven_rpc.client.connection import (
    CHUNK,
    encode_request,
    lost,
    raise_farewell,
    result_of,
    take_line,
    unanswered,
    unreachable,
)
from raven_rpc.client.retry import Link, Patience
from raven_rpc.jsonrpc import unix_socket as sockets

_T = TypeVar("_T")


class AsyncWire:
    """A connection on which one task asks; what is pushed meanwhile is kept. Whoever awaits it closes it at the end."""

    def __init__(self, link: Link) -> None:
        sockets.check_length(link.db_path)
        self.path = link.db_path
        self._timeout_s = link.timeout_s
        # A bare socket, which is registered with the event loop only while it is awaited: what a forked child drops of
        # its copy then does not touch the epoll that it shares with its parent.
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._is_awaited = False
        self._buffer = bytearray()
        self._pushes: deque[dict[str, Any]] = deque()
        self._last = 0
        self._pid = os.getpid()
        link.keep(self)

    async def connect(self) -> None:
        """Connect; raises UnreachableError."""
        try:
            await self._step(lambda loop, connection: loop.sock_connect(connection, self.path))
        except OSError as error:
            raise unreachable(self.path, error) from None

    async def ask(self, method: str, params: dict[str, Any], wait_s: float | None = 0.0) -> Any:
        """Do as `Wire.ask` does."""
        self._last += 1
        line = encode_request(self._last, method, params)
        limit_s = None if wait_s is None else self._timeout_s + wait_s
        try:
            async with asyncio.timeout(limit_s):
                shape = await self._answer(line)
        except TimeoutError:
            self.close()
            raise unanswered(self.path, method, limit_s or 0.0) from None
        return result_of(shape)

    async def next_push(self) -> dict[str, Any]:
        """Return the next notification; LostError when the connection is."""
        if self._pushes:
            return self._pushes.popleft()
        while "method" not in (shape := await self._read()):
            pass
        return shape

    def close(self) -> None:
        """Close the connection, from any thread; a task that awaits it is woken, and closes it. Twice is allowed."""
        connection = self._socket
        if connection is not None and self._is_awaited and self._pid == os.getpid():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            return
        self._socket = None
        self._pushes.clear()
        self._buffer.clear()
        if connection is not None:
            connection.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            await self._step(lambda loop, connection: loop.sock_sendall(connection, line))
        except OSError as error:
            with suppress(LostError):
                raise_farewell(await self._read())
            raise unreachable(self.path, error) from None
        while True:
            shape = await self._read()
            if "method" in shape:
                self._pushes.append(shape)
            elif shape.get("id") in (self._last, None):
                return shape

    async def _read(self) -> dict[str, Any]:
        while (shape := take_line(self._buffer)) is None:
            try:
                data = await self._step(lambda loop, connection: loop.sock_recv(connection, CHUNK))
            except OSError:
                data = b""
            if not data:
                raise lost(self.path)
            self._buffer += data
        return shape

    async def _step(self, step: Callable[[asyncio.AbstractEventLoop, socket.socket], Awaitable[_T]]) -> _T:
        """Await a step of the connection; OSError where that is gone."""
        self._is_awaited = True  # before the look: from now on another thread only shuts it down
        try:
            if self._socket is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return await step(asyncio.get_running_loop(), self._socket)
        finally:
            self._is_awaited = False


async def persist(link: Link, step: Callable[[], Awaitable[_T]], *, lost_too: bool) -> _T:
    """Do as `Link.persist` does, for a step that is awaited."""
    patience = Patience(link, lost_too=lost_too)
    while True:
        try:
            return await step()
        except (UnreachableError, LostError, LimitError) as error:
            pause_s = patience.pause_s(error)
        await asyncio.sleep(pause_s)
