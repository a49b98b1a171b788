"""Long poll: a call whose reply may take long, over a connection of its own, so that it blocks no other call."""

from __future__ import annotations

import time
from typing import Generic, TypeVar

from raven.errors import ClosedError, LimitError, LostError, UnreachableError
from raven.model.clock import deadline_after, remaining_s
from raven_rpc.client.calls import Call, without_none
from raven_rpc.client.connection import Connection
from raven_rpc.client.exchange import decode_as, lost
from raven_rpc.client.transport import Backoff, Transport

_T = TypeVar("_T")


class LongPoll(Generic[_T]):
    """A call whose reply comes within `timeout_s` seconds, or at any time (None); ClosedError if its client is closed.

    After a lost connection an idempotent call is repeated with the remaining time. With `may_wait_forever` the call
    sends a `timeout_s` of null, which means no limit; a missing `timeout_s` means the server's default.
    """

    def __init__(
        self, transport: Transport, call: Call[_T], timeout_s: float | None = None, *, may_wait_forever: bool = False
    ) -> None:
        self._deadline = deadline_after(timeout_s)
        self._transport = transport
        self._call = call
        self._params = without_none({**call.params, "timeout_s": timeout_s})
        if may_wait_forever:
            self._params["timeout_s"] = timeout_s
        self._wait_s = timeout_s
        self._backoff = self._new_backoff()
        self._began = time.monotonic()

    def ask(self) -> _T:
        """Block until the reply comes, and return its value; raises its error, UnreachableError or LostError."""
        while True:
            self._began = time.monotonic()
            connection: Connection | None = None
            try:
                connection = self._transport.connect()
                result = connection.ask(self._call.method, self._params, self._wait_s)
            except (UnreachableError, LostError, LimitError, ClosedError) as error:
                pause_s = self._pause_s(error)
            else:
                return decode_as(self._call.read, result)
            finally:
                if connection is not None:
                    connection.close()
            time.sleep(pause_s)
            self._reduce_timeout()

    async def ask_async(self) -> _T:
        """Do as `ask` does, without blocking the event loop; cancelling it closes the connection."""
        import asyncio

        while True:
            self._began = time.monotonic()
            connection = self._transport.new_async_connection()
            try:
                await connection.connect()
                result = await connection.ask(self._call.method, self._params, self._wait_s)
            except (UnreachableError, LostError, LimitError, ClosedError) as error:
                pause_s = self._pause_s(error)
            else:
                return decode_as(self._call.read, result)
            finally:
                connection.close()
            await asyncio.sleep(pause_s)
            self._reduce_timeout()

    def _pause_s(self, error: UnreachableError | LostError | LimitError | ClosedError) -> float:
        """Return how long to pause before the next attempt, or raise the error."""
        self._transport.check_open()
        if isinstance(error, ClosedError):  # the server is stopping
            error = lost(self._transport.path)
        if isinstance(error, LostError) and time.monotonic() - self._began > self._backoff.limit_s:
            # The server was reachable until now: the pauses start again.
            self._backoff = self._new_backoff()
        return self._backoff.pause_s(error)

    def _new_backoff(self) -> Backoff:
        return Backoff(self._transport, retry_lost=self._call.is_idempotent, at_most_s=remaining_s(self._deadline))

    def _reduce_timeout(self) -> None:
        """Send the remaining time in the next attempt; a call that is not idempotent keeps its time."""
        if self._call.is_idempotent and self._deadline is not None:
            self._wait_s = self._params["timeout_s"] = remaining_s(self._deadline)
