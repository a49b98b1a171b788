"""Async messages: what `Client.subscribe` returns, for `async for`."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from raven import AckMode, ClosedError, DeliveryError, LostError, Message, MessageNotFoundError
from raven_rpc import sockets
from raven_rpc.streams import acked, deadline_after, left_s, subscription
from raven_rpc.wire import CHUNK, encode_request, lost, message_of, result_of, take_line, unreachable

if TYPE_CHECKING:
    from raven_rpc.client import Client

_T = TypeVar("_T")


class AsyncMessages:
    """What `Client.subscribe` returns: the mail of an address, for `async for`; ends as `listen` does."""

    def __init__(
        self, client: Client, ack: AckMode, max_per_poll: int, poll_interval_s: float, timeout_s: float | None
    ) -> None:
        self._client = client
        self._ack = ack
        self._max_per_poll = max_per_poll
        self._poll_interval_s = poll_interval_s
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._params: dict[str, Any] | None = None
        # A bare socket, which is registered with the event loop only while it is awaited: what a forked child drops of
        # its copy then does not touch the epoll that it shares with its parent.
        self._socket: socket.socket | None = None
        self._is_awaited = False
        self._buffer = bytearray()
        self._pushes: deque[dict[str, Any]] = deque()
        self._last = self._number = 0
        self._pid = os.getpid()
        self._is_closed = False
        client._streams.add(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if self._params is None:
            self._deadline = deadline_after(self._timeout_s)
            address = self._client._address or await asyncio.to_thread(lambda: self._client.address)
            self._params = subscription(address, self._ack, self._max_per_poll, self._poll_interval_s)
        elif self._deadline is not None and time.monotonic() >= self._deadline:
            self.close()
        message = None
        try:
            message = await self._next(self._params)
        except (TimeoutError, ClosedError):
            pass
        finally:
            if message is None:
                self.close()
        if message is None:
            raise StopAsyncIteration
        return message

    async def aclose(self) -> None:
        """Stop; the helper gives back what was pushed and not acked."""
        self.close()

    def close(self) -> None:
        """Do as `aclose` does, at once, from any thread. Closing twice is allowed."""
        self._is_closed = True
        connection = self._socket
        if connection is not None and self._is_awaited and self._pid == os.getpid():
            # Whoever awaits it is woken, and drops it.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        else:
            self._drop()

    def __del__(self) -> None:
        self.close()

    async def _next(self, params: dict[str, Any]) -> Message | None:
        while not self._is_closed:
            try:
                # Not around the ack: what is acked must be handed out.
                async with asyncio.timeout(left_s(self._deadline)):
                    if self._socket is None:
                        await self._connect(params)
                    push = self._pushes.popleft() if self._pushes else await self._read()
                message = message_of(push)
                if message is not None and self._ack == "auto":
                    await self._ask("ack", {"id": message.id, "subscription": self._number})
                    message = acked(message)
            except (DeliveryError, MessageNotFoundError):  # its lease has ended, and another may have it
                continue
            except LostError:
                self._drop()
                continue
            return message
        return None

    async def _connect(self, params: dict[str, Any]) -> None:
        """Connect and subscribe, with growing pauses while the helper cannot be reached."""
        from raven_rpc.client import Pauses

        pauses = Pauses(self._client._patience_s)
        while True:
            self._client.check_open()
            sockets.check_length(self._client.db_path)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(self._socket, self._client.db_path)
                self._number = (await self._ask("subscribe", params))["subscription"]
                return
            except OSError as error:
                self._drop()
                pause_s = pauses.next_s()
                if pause_s is None:
                    raise unreachable(self._client.db_path, error) from None
            except LostError:
                self._drop()
                pause_s = pauses.next_s()
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)

    async def _ask(self, method: str, params: dict[str, Any]) -> Any:
        self._last += 1
        line = encode_request(self._last, method, params)
        await self._await(lambda loop, connection: loop.sock_sendall(connection, line))
        while True:
            shape = await self._read()
            if "method" in shape:
                self._pushes.append(shape)
            elif shape.get("id") in (self._last, None):
                return result_of(shape)

    async def _read(self) -> dict[str, Any]:
        while (shape := take_line(self._buffer)) is None:
            data = await self._await(lambda loop, connection: loop.sock_recv(connection, CHUNK))
            if not data:
                raise lost(self._client.db_path)
            self._buffer += data
        return shape

    async def _await(self, step: Callable[[asyncio.AbstractEventLoop, socket.socket], Awaitable[_T]]) -> _T:
        """Await a step of the connection; LostError where that is gone."""
        if self._socket is None:
            raise lost(self._client.db_path)
        self._is_awaited = True
        try:
            return await step(asyncio.get_running_loop(), self._socket)
        except OSError:
            raise lost(self._client.db_path) from None
        finally:
            self._is_awaited = False

    def _drop(self) -> None:
        """Forget the connection, and what came over it and was not handed out."""
        connection, self._socket = self._socket, None
        self._pushes.clear()
        self._buffer.clear()
        if connection is not None:
            connection.close()
