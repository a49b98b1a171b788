"""Transport: the connections of one client to its server, with retries and their end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from raven.errors import ClosedError, LimitError, LostError, UnreachableError
from raven_rpc.client.calls import Call
from raven_rpc.client.connection import Connection
from raven_rpc.client.exchange import decode_as

if TYPE_CHECKING:
    from raven_rpc.client.async_connection import AsyncConnection

_T = TypeVar("_T")
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


class Closable(Protocol):
    """A connection or a loop, which ends with its client."""

    def close(self) -> None:
        """End it, from any thread."""


_Part = TypeVar("_Part", bound=Closable)


class Transport:
    """One connection for all short calls of a client, and one for each long call or loop; any thread may use it."""

    def __init__(self, path: str, timeout_s: float, connect_timeout_s: float) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self.connect_timeout_s = connect_timeout_s
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        # Keyed by id, with weak references: a dropped loop closes itself.
        self._parts: WeakValueDictionary[int, Closable] = WeakValueDictionary()
        self._is_closed = False

    def do(self, call: Call[_T]) -> _T:
        """Make a call over the shared connection and return its value; raises its error, UnreachableError, LostError.

        After a lost connection an idempotent call is repeated.
        """
        result = self.retry(lambda: self.ask(call.method, call.params), retry_lost=call.is_idempotent)
        return decode_as(call.read, result)

    def ask(self, method: str, params: dict[str, Any] | list[Any]) -> Any:
        """Call once over the shared connection, reconnecting if it has ended; returns the result as JSON."""
        if self._pid != os.getpid():  # a forked child: a thread of the parent may hold the lock
            self._pid, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            if self._connection is None or self._connection.is_dead():
                if self._connection is not None:
                    self._connection.close()
                self._connection = self.connect()
            return self._connection.ask(method, params)

    def connect(self) -> Connection:
        """Return a new connection; raises UnreachableError, or ClosedError after `close`."""
        self.check_open()
        connection = self.track(Connection(self.path, self.timeout_s))
        self.check_open()
        return connection

    def new_async_connection(self) -> AsyncConnection:
        """Return a new, unconnected connection for an event loop; ClosedError after `close`."""
        from raven_rpc.client.async_connection import AsyncConnection

        self.check_open()
        return self.track(AsyncConnection(self.path, self.timeout_s))

    def track(self, part: _Part) -> _Part:
        """Return the part; `close` will close it, and closes it now if the transport is closed already."""
        self._parts[id(part)] = part
        if self._is_closed:
            part.close()
        return part

    def check_open(self) -> None:
        """Raise ClosedError after `close`."""
        if self._is_closed:
            raise ClosedError(f"the client of {self.path} is closed: make a new one")

    def close(self) -> None:
        """Close the connections and the loops, from any thread. Idempotent."""
        self._is_closed = True
        # `valuerefs` copies in one step; a thread that tracks a part after it sees that the transport is closed.
        for reference in self._parts.valuerefs():
            part = reference()
            if part is not None:
                part.close()

    def retry(self, step: Callable[[], _T], *, retry_lost: bool, at_most_s: float | None = None) -> _T:
        """Repeat a step while the server is unreachable or full, for up to `connect_timeout_s` or `at_most_s`."""
        backoff = Backoff(self, retry_lost=retry_lost, at_most_s=at_most_s)
        while True:
            try:
                return step()
            except (UnreachableError, LostError, LimitError) as error:
                pause_s = backoff.pause_s(error)
            time.sleep(pause_s)

    async def retry_async(self, step: Callable[[], Awaitable[_T]], *, retry_lost: bool) -> _T:
        """Do as `retry` does, with a step that is awaited."""
        import asyncio

        backoff = Backoff(self, retry_lost=retry_lost)
        while True:
            try:
                return await step()
            except (UnreachableError, LostError, LimitError) as error:
                pause_s = backoff.pause_s(error)
            await asyncio.sleep(pause_s)


class Backoff:
    """The growing pauses between attempts to reach a server that is unreachable or full, and their end.

    A full server has done nothing, and its limit over all clients passes.
    """

    def __init__(self, transport: Transport, *, retry_lost: bool, at_most_s: float | None = None) -> None:
        self._transport = transport
        self._lost_too = retry_lost
        self.limit_s = transport.connect_timeout_s if at_most_s is None else min(at_most_s, transport.connect_timeout_s)
        self._give_up_at = time.monotonic() + self.limit_s
        self._pause_s = _FIRST_PAUSE_S

    def pause_s(self, error: UnreachableError | LostError | LimitError) -> float:
        """Return how long to pause before the next attempt; raises the error if no attempt is left."""
        self._transport.check_open()
        left = self._give_up_at - time.monotonic()
        is_final = isinstance(error, LimitError) and not error.retryable
        if left <= 0 or is_final or (isinstance(error, LostError) and not self._lost_too):
            raise error
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return min(pause_s, left)
