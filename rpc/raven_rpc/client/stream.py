"""Streams: messages that the server pushes, each stream over a connection of its own, blocking or in an event loop.

Both kinds connect again after a lost connection; their Subscription knows where to continue.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from raven.errors import ClosedError, LostError, UnreachableError
from raven.model.clock import deadline_after, remaining_s
from raven.model.leases import LeaseTracker
from raven.model.message import Message
from raven_rpc.client.connection import Connection
from raven_rpc.client.exchange import leased_until
from raven_rpc.client.subscription import LOST_PAUSE_S, REFUSALS, Log, Mail, Options, Subscription
from raven_rpc.client.transport import Transport

if TYPE_CHECKING:
    from raven_rpc.client.async_connection import AsyncConnection


def listen(
    transport: Transport, leases: LeaseTracker, address: str | None, options: Options, timeout_s: float | None
) -> Iterator[Message]:
    """Yield the mail of an address."""
    stream = _Stream(transport, Mail(address, options, leases), timeout_s)
    try:
        with suppress(ClosedError):
            while (message := stream.next_message()) is not None:
                yield message
                if stream.is_over():
                    return
    finally:
        stream.close()


def tail(transport: Transport, log: Log, timeout_s: float | None) -> Iterator[Message]:
    """Yield the messages of the log from its `from_id` on."""
    stream = _Stream(transport, log, timeout_s)
    try:
        with suppress(ClosedError):
            while (message := stream.next_message()) is not None:
                yield message
    finally:
        stream.close()


class _Stream:
    """The messages of one subscription, for a thread; closed by `close` from any thread."""

    def __init__(self, transport: Transport, subscription: Subscription, timeout_s: float | None) -> None:
        self._transport = transport
        self._subscription = subscription
        self._deadline = deadline_after(timeout_s)
        self._connection: Connection | None = None
        self._is_closed = False
        transport.track(self)

    def next_message(self) -> Message | None:
        """Return the next message, or None at the deadline, at the end of the stream, or when it is closed."""
        while not self._is_closed:
            try:
                connection = self._connected()
                notification = connection.next_notification(remaining_s(self._deadline))
            except (LostError, UnreachableError) as error:
                self._drop()
                if self.is_over():
                    return None
                if isinstance(error, UnreachableError):
                    raise
                time.sleep(LOST_PAUSE_S)
                continue
            message = None if notification is None else self._subscription.message_of(notification)
            if notification is None or message is None:
                return None
            if self._holds(connection, message, leased_until(notification)):
                return self._subscription.deliver(message)
            if self.is_over():
                return None
        return None

    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def close(self) -> None:
        """End the stream; the server releases every message that it pushed and that was not acked."""
        self._is_closed = True
        if self._connection is not None:
            self._connection.close()
        self._subscription.end()

    def _connected(self) -> Connection:
        """Return the open connection, or connect and subscribe."""
        if self._connection is None:
            left = remaining_s(self._deadline)
            self._connection = self._transport.retry(self._subscribe, retry_lost=True, at_most_s=left)
        return self._connection

    def _subscribe(self) -> Connection:
        connection = self._transport.connect()
        try:
            self._subscription.begin(connection.ask(self._subscription.method, self._subscription.params))
        except BaseException:
            connection.close()
            raise
        return connection

    def _holds(self, connection: Connection, message: Message, leased_until: str | None) -> bool:
        """Whether the loop holds a message now; asks the server if need be, and drops a connection that has ended.

        It asks again as long as the answers come too late, until the deadline.
        """
        try:
            while (question := self._subscription.question(message, leased_until)) is not None:
                holds = question.holds(connection.ask(question.method, question.params))
                if holds is not None or self.is_over():
                    break
                time.sleep(LOST_PAUSE_S)
            else:
                holds = True
        except REFUSALS:
            return False
        except (LostError, UnreachableError):
            self._drop()
            return False
        if holds and self._subscription.is_leased and connection.has_ended():
            self._drop()
            return False
        return bool(holds)

    def _drop(self) -> None:
        """Forget a connection that was lost."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class AsyncMessageIterator:
    """What `Client.subscribe` returns: the mail of an address, for `async for`; ends as `listen` does."""

    def __init__(
        self, transport: Transport, leases: LeaseTracker, address: str | None, options: Options, timeout_s: float | None
    ) -> None:
        self._transport = transport
        self._leases = leases
        self._address = address
        self._options = options
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._mail: Mail | None = None
        self._connection: AsyncConnection | None = None
        self._is_closed = False
        transport.track(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if self._mail is None:
            self._deadline = deadline_after(self._timeout_s)
            self._mail = Mail(self._address, self._options, self._leases)
        elif self._is_over():
            self.close()
        message = None
        try:
            message = await self._next_message(self._mail)
        except (TimeoutError, ClosedError):
            pass
        finally:
            if message is None:
                self.close()
        if message is None:
            raise StopAsyncIteration
        return message

    async def aclose(self) -> None:
        """Stop; the server releases every message that it pushed and that was not acked."""
        self.close()

    def close(self) -> None:
        """Do as `aclose` does, at once, from any thread. Idempotent."""
        self._is_closed = True
        if self._connection is not None:
            self._connection.close()
        if self._mail is not None:
            self._mail.end()

    def __del__(self) -> None:
        self.close()

    async def _next_message(self, mail: Mail) -> Message | None:
        import asyncio

        while not self._is_closed:
            try:
                # The timeout excludes the ack: an acked message must be delivered.
                async with asyncio.timeout(remaining_s(self._deadline)):
                    connection = await self._connected(mail)
                    notification = await connection.next_notification()
            except LostError:
                self._drop()
                await asyncio.sleep(LOST_PAUSE_S)
                continue
            message = mail.message_of(notification)
            if message is None:
                return None
            if await self._holds(connection, mail, message, leased_until(notification)):
                return mail.deliver(message)
            if self._is_over():
                return None
        return None

    def _is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    async def _connected(self, mail: Mail) -> AsyncConnection:
        """Return the open connection, or connect and subscribe."""
        if self._connection is not None:
            return self._connection
        return await self._transport.retry_async(lambda: self._subscribe(mail), retry_lost=True)

    async def _subscribe(self, mail: Mail) -> AsyncConnection:
        if self._is_closed:
            raise ClosedError("the loop was ended")
        self._connection = connection = self._transport.new_async_connection()
        try:
            await connection.connect()
            mail.begin(await connection.ask(mail.method, mail.params))
        except BaseException:
            self._drop()
            raise
        return connection

    async def _holds(self, connection: AsyncConnection, mail: Mail, message: Message, leased_until: str | None) -> bool:
        """Do as `_Stream._holds` does."""
        import asyncio

        try:
            while (question := mail.question(message, leased_until)) is not None:
                holds = question.holds(await connection.ask(question.method, question.params))
                if holds is not None or self._is_over():
                    break
                await asyncio.sleep(LOST_PAUSE_S)
            else:
                holds = True
        except REFUSALS:
            return False
        except (LostError, UnreachableError):
            self._drop()
            return False
        if holds and mail.is_leased and connection.has_ended():
            self._drop()
            return False
        return bool(holds)

    def _drop(self) -> None:
        """Close the connection, and forget it with its undelivered messages."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
