"""Fetcher: looks into the store for one connection, when a doorbell rings or something is due."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from raven import Listener, RavenError
from raven_rpc.server.worker import Lane, Outcome

if TYPE_CHECKING:
    from raven_rpc.server.connection import Connection
    from raven_rpc.server.server import Server

_BUSY_PAUSE_S = 0.2


class Fetcher(ABC):
    """Fetches when its doorbell rings and there is room; one fetch is under way at a time.

    All methods but `fetch` run on the event loop.
    """

    lane: Lane = "write"

    def __init__(self, server: Server, connection: Connection, listener: Listener) -> None:
        self._server = server
        self._loop = server.loop
        self._connection = connection
        self._listener = listener
        self._descriptor = -1
        self._rung = self._is_due = self._is_fetching = self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def room(self) -> int:
        """Return how many messages may be fetched now."""

    @abstractmethod
    def fetch(self, max: int, rung: bool) -> Any:
        """Fetch up to `max` messages; runs in the thread of the lane."""

    @abstractmethod
    def take_in(self, value: Any) -> None:
        """Deal with what was fetched, also where this was closed meanwhile."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Deal with an error that will not pass."""

    def start(self) -> None:
        """Begin to look, unless it was ended meanwhile."""
        if not self._is_closed:
            self._attach()
            self.look()

    def look(self) -> None:
        """See whether there is something to fetch."""
        self._is_due = True
        self.go_on()

    def go_on(self) -> None:
        """Fetch if there is reason to, and room."""
        if self._is_fetching or self._is_closed or not (self._rung or self._is_due):
            return
        if self._connection.is_full():  # it calls again when it is not
            return
        room = self.room()
        if room <= 0:
            return
        self._is_fetching = True
        rung, self._rung, self._is_due = self._rung, False, False
        self.submit(room, rung)

    def submit(self, room: int, rung: bool) -> None:
        """Have a fetch done."""
        self._server.submit(self.lane, lambda: self.fetch(room, rung), self.fetched, room)

    def fetched(self, outcome: Outcome) -> None:
        """Deal with what came of a fetch."""
        self._is_fetching = False
        if outcome.error is None:
            self.take_in(outcome.value)
        elif self._is_closed:
            pass
        elif isinstance(outcome.error, RavenError) and outcome.error.retryable:
            self.look_in(_BUSY_PAUSE_S)
        else:
            self.fail(outcome.error)

    def tick(self, changed: bool) -> None:
        """Once a second: see to the doorbell, and look if the bus has changed."""
        if self._is_closed:
            return
        if self._listener.hangs():
            self._listener.tick()
        else:
            self._detach()
            self._listener.tick()
            self._attach()
            changed = True
        if changed or self._listener.is_deaf:
            self.look()

    def is_deaf(self) -> bool:
        """Whether it has no doorbell."""
        return self._listener.is_deaf

    def look_in(self, pause_s: float) -> None:
        """Look after a pause, or earlier where that is planned already."""
        when = self._loop.time() + pause_s
        if self._timer is not None and not self._timer.cancelled() and self._loop.time() < self._timer.when() <= when:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self.look)

    def close(self) -> None:
        """Look no more, and let go of the doorbell."""
        if self._is_closed:
            return
        self._is_closed = True
        self._detach()
        if self._timer is not None:
            self._timer.cancel()
        # Not here: the last listener waits for the end of the watch.
        self._server.submit("read", self._listener.close, ignore)

    def _attach(self) -> None:
        self._descriptor = self._listener.fileno()
        if self._descriptor >= 0:
            self._loop.add_reader(self._descriptor, self._ring)

    def _detach(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            self._descriptor = -1

    def _ring(self) -> None:
        self._listener.silence()
        self._rung = True
        self.go_on()


def ignore(outcome: Outcome) -> None:
    """Whatever came of it: what could not be undone now ends by its time."""
