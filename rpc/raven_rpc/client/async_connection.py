"""Async connection: one socket to the server that does not block the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from raven.errors import ForbiddenError, LostError
from raven_rpc.client.connection import CHUNK
from raven_rpc.client.exchange import Exchange, JsonObject, result_of, timeout_error, unreachable
from raven_rpc.jsonrpc import unix_socket

_T = TypeVar("_T")


class AsyncConnection:
    """A connection for the calls of one task; it keeps notifications that come before a reply.

    Call `connect` first. The task that awaits the connection closes it at the end.
    """

    def __init__(self, path: str, timeout_s: float) -> None:
        unix_socket.check_length(path)
        self.path = path
        self._timeout_s = timeout_s
        # A plain socket is registered with the event loop only while it is awaited. So a forked child that closes its
        # copy does not change the epoll that it shares with its parent.
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._end_poll = unix_socket.end_poll(self._socket)
        self._is_awaited = False
        self._exchange = Exchange(path)
        self._pid = os.getpid()

    async def connect(self) -> None:
        """Connect; raises UnreachableError, or ForbiddenError if another user's process listens at the socket."""
        try:
            await self._step(self._connect_checked)
        except OSError as error:
            raise unreachable(self.path, error) from None
        except ForbiddenError:
            self.close()
            raise

    def has_ended(self) -> bool:
        """Whether the other end has closed the connection, even if data that it wrote before is unread."""
        return self._socket is None or bool(self._end_poll.poll(0))

    async def ask(self, method: str, params: dict[str, Any], wait_s: float | None = 0.0) -> Any:
        """Call a method, as `Connection.ask` does."""
        line = self._exchange.request(method, params)
        limit_s = None if wait_s is None else self._timeout_s + wait_s
        try:
            async with asyncio.timeout(limit_s):
                response = await self._response(line)
        except TimeoutError:
            self.close()
            raise timeout_error(self.path, method, limit_s or 0.0) from None
        return result_of(response)

    async def next_notification(self) -> JsonObject:
        """Return the next notification; LostError when the connection ends."""
        return await self._read_until(self._exchange.notification)

    def close(self) -> None:
        """Close the connection, from any thread; a task that awaits it is woken, and closes it. Idempotent."""
        connection = self._socket
        if connection is not None and self._is_awaited and self._pid == os.getpid():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            return
        self._socket = None
        # A new one, because a task may still use the old one in its current step.
        self._exchange = Exchange(self.path)
        if connection is not None:
            connection.close()

    async def _connect_checked(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        await loop.sock_connect(connection, self.path)
        unix_socket.check_server(connection, self.path)

    async def _response(self, line: bytes) -> JsonObject:
        try:
            await self._step(lambda loop, connection: loop.sock_sendall(connection, line))
        except OSError as error:
            with suppress(LostError):
                await self._read_until(self._exchange.close_reason)
            raise unreachable(self.path, error) from None
        return await self._read_until(self._exchange.reply)

    async def _read_until(self, step: Callable[[], _T | None]) -> _T:
        """Read until a step of the exchange returns a value, and return that."""
        while (value := step()) is None:
            try:
                data = await self._step(lambda loop, connection: loop.sock_recv(connection, CHUNK))
            except OSError:
                data = b""
            self._exchange.feed(data)
        return value

    async def _step(self, step: Callable[[asyncio.AbstractEventLoop, socket.socket], Awaitable[_T]]) -> _T:
        """Await a step of the socket; OSError if it was closed."""
        self._is_awaited = True  # before the check: from now on another thread only shuts the socket down
        try:
            if self._socket is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return await step(asyncio.get_running_loop(), self._socket)
        finally:
            self._is_awaited = False
