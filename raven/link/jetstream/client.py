"""Client: one connection of nats-py, which ends with its first error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import nats.aio.client
import nats.aio.transport

from raven.link.jetstream.target import NoTLSError

_CLOSE_S = 2.0
_REFUSAL_S = 0.02


class Answer(NamedTuple):
    """A message as the server delivers it; `status` is the code of a message of the server itself, as "503"."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    reply: str

    @property
    def status(self) -> str:
        """The code of a message of the server itself, as 503; an empty text for all others."""
        return self.headers.get("Status", "")


class _Transport(nats.aio.transport.TcpTransport):
    """A connection that leaves a server the time to refuse a new client, before it is sent more.

    If the server has closed the connection meanwhile, the reason that it gave is lost by the next write.
    """

    is_new = True

    def __bool__(self) -> bool:
        return True  # else nats-py makes another in its place

    async def drain(self) -> None:
        await super().drain()  # type: ignore[no-untyped-call]
        if self.is_new:
            await asyncio.sleep(_REFUSAL_S)


class Client(nats.aio.client.Client):
    """The client of nats-py without its reconnection, which sends its buffer again."""

    def __init__(self, needs_tls: bool, on_loss: Callable[[Exception | None], None]) -> None:
        super().__init__()
        self.info: dict[str, Any] = {}
        self._needs_tls = needs_tls
        self._on_loss = on_loss
        self._transport = self._patient = _Transport()  # type: ignore[no-untyped-call]

    async def connect(self, *servers: Any, **options: Any) -> None:
        """Connect as nats-py does, but read why a server refuses it."""
        await super().connect(*servers, **options)
        self._patient.is_new = False

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # nats-py would go on without TLS, and send the password.
        if initial_connection and self._needs_tls and not info.get("tls_required"):
            raise NoTLSError
        self.info = info
        await super()._process_info(info, initial_connection)

    async def _process_op_err(self, e: Exception) -> None:
        self._on_loss(e)

    async def _process_pong(self) -> None:
        # A flush that was cancelled leaves its future. nats-py would set it: that error would end its reading.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def settle(self, timeout_s: int) -> None:
        """Wait until the server has taken or refused every message sent before; raises TimeoutError of nats-py."""
        # The ping of nats-py overtakes messages sent just before it; that of a second flush does not.
        await self.flush(timeout_s)
        await self.flush(timeout_s)

    def last_words(self) -> str:
        """Return the error that the server sent before it ended the connection, if nats-py has not read it."""
        unread = bytes(getattr(getattr(self._transport, "_io_reader", None), "_buffer", b""))
        return unread.partition(b"-ERR ")[2].partition(b"\r")[0].decode("utf-8", "replace").strip("'")

    async def discard(self) -> None:
        """Close the connection at once, though the other end may not answer; never raises."""
        self._pending, self._pending_data_size = [], 0
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        with suppress(Exception):
            await asyncio.wait_for(self.close(), _CLOSE_S)


def as_callback(handler: Callable[[Answer], None]) -> Callable[[Any], Awaitable[None]]:
    """Return a callback of nats-py for a handler, which must not wait."""

    async def callback(message: Any) -> None:
        handler(Answer(message.subject, message.data, message.headers or {}, message.reply))

    return callback
