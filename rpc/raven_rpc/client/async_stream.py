"""Async messages: what `Client.subscribe` returns, for `async for`."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from raven import (
    ClosedError,
    DeliveryError,
    LostError,
    Message,
    MessageNotFoundError,
    UnreachableError,
    deadline_after,
    left_s,
)
from raven_rpc.client.async_connection import AsyncWire, persist
from raven_rpc.client.connection import message_of, shaped
from raven_rpc.client.stream import LOST_PAUSE_S, Hands, Options, acked

if TYPE_CHECKING:
    from raven_rpc.client.client import Client


class AsyncMessages:
    """What `Client.subscribe` returns: the mail of an address, for `async for`; ends as `listen` does."""

    def __init__(self, client: Client, options: Options, timeout_s: float | None) -> None:
        self._client = client
        self._options = options
        self._hands = Hands(client._holdings)
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._params: dict[str, Any] | None = None
        self._wire: AsyncWire | None = None
        self._number = 0
        self._is_closed = False
        client.keep(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if self._params is None:
            self._deadline = deadline_after(self._timeout_s)
            address = self._client._address or await asyncio.to_thread(lambda: self._client.address)
            self._params = self._options.params(address)
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
        if self._wire is not None:
            self._wire.close()
        self._hands.let_go()

    def __del__(self) -> None:
        self.close()

    async def _next(self, params: dict[str, Any]) -> Message | None:
        while not self._is_closed:
            try:
                # Not around the ack: what is acked must be handed out.
                async with asyncio.timeout(left_s(self._deadline)):
                    wire = await self._connect(params)
                    push = await wire.next_push()
            except LostError:
                self._drop()
                await asyncio.sleep(LOST_PAUSE_S)
                continue
            message = message_of(push)
            if message is None or self._options.ack != "auto":
                if message is not None:
                    self._hands.take(message)
                return message
            if await self._ack(wire, message):
                return acked(message)
        return None

    async def _connect(self, params: dict[str, Any]) -> AsyncWire:
        """Return the open connection, or make one and subscribe."""
        if self._wire is not None:
            return self._wire
        return await persist(self._client, partial(self._subscribe, params), lost_too=True)

    async def _subscribe(self, params: dict[str, Any]) -> AsyncWire:
        """Connect and subscribe."""
        if self._is_closed:
            raise ClosedError("the loop was ended")
        self._client.check_open()
        self._wire = AsyncWire(self._client)
        try:
            await self._wire.connect()
            found = await self._wire.ask("subscribe", params)
            self._number = shaped(lambda result: int(result["subscription"]), found)
        except BaseException:
            self._drop()
            raise
        return self._wire

    async def _ack(self, wire: AsyncWire, message: Message) -> bool:
        """Ack a message before it is handed out; where that is not known to have worked, it is not handed out."""
        try:
            await wire.ask("ack", {"id": message.id, "subscription": self._number})
        except (DeliveryError, MessageNotFoundError):  # its lease has ended, and another may have it
            return False
        except (LostError, UnreachableError):
            self._drop()
            return False
        return True

    def _drop(self) -> None:
        """Forget the connection, and what came over it and was not handed out."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
