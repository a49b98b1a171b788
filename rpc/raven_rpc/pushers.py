"""Pushers: fetch for one subscription each, and write no faster than the client reads."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from raven import BusClient, Listener, Log, Message, RavenError
from raven_rpc import faults, protocol
from raven_rpc.work import Lane, Outcome

if TYPE_CHECKING:
    from raven_rpc.connection import Connection
    from raven_rpc.server import Server

# What is pushed with manual acks is leased so long, and the lease is renewed three times within it.
LEASE_S = 30.0
_RENEW_S = LEASE_S / 3
# One fetch brings so many messages at most, and stops at the one with which they come to so many bytes.
_BATCH = 100
_BATCH_BYTES = 256 * 1024
_SHORTEST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05
_BUSY_PAUSE_S = 0.2


class Pusher(ABC):
    """One subscription: fetches when its doorbell rings and there is room, and writes what it has got.

    One fetch is under way at a time, so all that a slow client can pile up is one batch; the rest stays in the store.
    """

    lane: Lane = "write"
    gives_back = False

    def __init__(self, number: int, server: Server, connection: Connection, listener: Listener) -> None:
        self.number = number
        self._server = server
        self._loop = server.loop
        self._connection = connection
        self._listener = listener
        self._descriptor = -1
        self._rung = self._is_due = self._is_fetching = self._is_paused = self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._pause_s = _SHORTEST_PAUSE_S

    @abstractmethod
    def room(self) -> int:
        """Return how many messages may be pushed now."""

    @abstractmethod
    def fetch(self, max: int, rung: bool) -> list[Message]:
        """Take up to `max` messages; runs in the thread of the lane."""

    @abstractmethod
    def after(self, messages: list[Message]) -> float | None:
        """Note what was pushed; returns in how many seconds to look again unrung, or None."""

    def start(self) -> None:
        """Begin to push, unless it was ended meanwhile."""
        if not self._is_closed:
            self._attach()
            self.look()

    def look(self) -> None:
        """See whether there is something to push."""
        self._is_due = True
        self.go_on()

    def go_on(self) -> None:
        """Fetch if there is reason to, and room."""
        if self._is_fetching or self._is_paused or self._is_closed or not (self._rung or self._is_due):
            return
        if self._connection.is_full():  # it calls again when it is not
            return
        room = min(self.room(), _BATCH)
        if room <= 0:
            return
        self._is_fetching = True
        self._connection.fetching += 1
        rung, self._rung, self._is_due = self._rung, False, False
        self._server.submit(self.lane, lambda: self.fetch(room, rung), self._fetched, room)

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

    def pause(self) -> None:
        """Push no more."""
        self._is_paused = True

    def close(self) -> None:
        """Push no more, and let go of all that is held."""
        if self._is_closed:
            return
        self._is_closed = True
        self._detach()
        if self._timer is not None:
            self._timer.cancel()
        # Not here: the last listener waits for the end of the watch.
        self._server.submit("read", self._listener.close, _ignore)

    def end(self, reason: str, error: dict[str, Any] | None = None) -> None:
        """Tell the client that nothing more will come, and close."""
        told: dict[str, Any] = {"subscription": self.number, "reason": reason}
        self._connection.push(
            protocol.encode(protocol.notification("end", told if error is None else {**told, "error": error}))
        )
        self._connection.subscriptions.remove(self.number)

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

    def _fetched(self, outcome: Outcome) -> None:
        self._is_fetching = False
        self._connection.fetching -= 1
        if outcome.error is None:
            self._take_in(outcome.value)
        elif self._is_closed:
            pass
        elif isinstance(outcome.error, RavenError) and outcome.error.retryable:
            self._look_in(_BUSY_PAUSE_S)
        else:
            self.end("error", faults.to_wire(outcome.error))
        if self._is_paused:  # the connection waited for this before it closes
            self._connection.take_turn()
        self.go_on()

    def _take_in(self, messages: list[Message]) -> None:
        """Push what was fetched; what is leased for a subscription that was ended meanwhile goes back instead."""
        if messages and not (self._is_closed and self.gives_back):
            self._push(messages)
        if self._is_closed:
            return
        due = self.after(messages)
        if due == 0:
            self._is_due = True
        elif due is not None:
            self._look_in(due)

    def _push(self, messages: list[Message]) -> None:
        lines = b"".join(
            protocol.encode(
                protocol.notification("message", {"subscription": self.number, "message": message.as_dict()})
            )
            for message in messages
        )
        self._connection.push(lines)
        self._server.pushed += len(messages)

    def _room_if_read(self, most: int) -> int:
        """Return `most` if the client has read all it was sent; else none, and look again shortly."""
        if not self._connection.unread():
            self._pause_s = _SHORTEST_PAUSE_S
            return most
        # The system tells when there is room in the pipe, but not when it has been read.
        self._look_in(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return 0

    def _look_in(self, pause_s: float) -> None:
        when = self._loop.time() + pause_s
        if self._timer is not None and not self._timer.cancelled() and self._loop.time() < self._timer.when() <= when:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self.look)


class MailPusher(Pusher):
    """The mail of one address."""

    def __init__(
        self, number: int, server: Server, connection: Connection, bus: BusClient, ack: Any, window: int
    ) -> None:
        self._subscription = bus.subscription(ack=ack, lease_s=LEASE_S)
        super().__init__(number, server, connection, self._subscription.listener)
        self.role = bus.address
        self._window = window
        self.gives_back = ack != "auto"
        self._unacked: set[int] = set()
        self._renewed_at = time.monotonic()

    def room(self) -> int:
        """Return what is left of the window: with auto acks, all of it once the client has read the last."""
        return self._window - len(self._unacked) if self.gives_back else self._room_if_read(self._window)

    def fetch(self, max: int, rung: bool) -> list[Message]:
        """Take what is ready, acked or leased."""
        if self._unacked and time.monotonic() - self._renewed_at > LEASE_S / 2:
            # This process stood still: what is held here must not come a second time.
            self._subscription.renew()
        return self._subscription.fetch(max, rung=rung, max_bytes=_BATCH_BYTES)

    def after(self, messages: list[Message]) -> float | None:
        """Hold on to what now waits for its ack; returns when the next delay or lease ends."""
        if self.gives_back:
            for message in messages:
                self._unacked.add(message.id)
                self._server.held[self.role, message.id] = self
        return self._subscription.due_s()

    def take(self, message_id: int) -> None:
        """Ack a message that is still leased here, which makes room either way; runs in the thread of the lane."""
        try:
            self._subscription.take(message_id)
        finally:
            self._loop.call_soon_threadsafe(self._server.release, self.role, message_id)

    def release(self, message_id: int) -> None:
        """Note that a message was acked: there is room for another."""
        self._unacked.discard(message_id)
        self.go_on()

    def tick(self, changed: bool) -> None:
        """Renew the leases in good time, too."""
        super().tick(changed)
        if self._unacked and not self._is_closed and time.monotonic() - self._renewed_at >= _RENEW_S:
            self._renewed_at = time.monotonic()
            asked = frozenset(self._unacked)
            self._server.submit("write", self._subscription.renew, lambda outcome: self._renewed(asked, outcome))

    def close(self) -> None:
        """Give back what was not acked."""
        if not self._is_closed:
            super().close()
            self._forget(self._unacked)
            self._server.submit("write", self._subscription.give_back, _ignore)

    def _renewed(self, asked: frozenset[int], outcome: Outcome) -> None:
        """Forget what was acked by other ways, or was lost to another."""
        if outcome.error is None:
            self._forget(asked - outcome.value)
            self.go_on()

    def _forget(self, message_ids: frozenset[int] | set[int]) -> None:
        for message_id in message_ids:
            if self._server.held.get((self.role, message_id)) is self:
                del self._server.held[self.role, message_id]
        self._unacked = self._unacked - message_ids


class LogPusher(Pusher):
    """All messages, or those of some addresses, from one on."""

    lane: Lane = "read"

    def __init__(
        self, number: int, server: Server, connection: Connection, listener: Listener, log: Log, follow: bool
    ) -> None:
        super().__init__(number, server, connection, listener)
        self._log = log
        self._follow = follow

    def room(self) -> int:
        """Return a page once the client has read the last."""
        return self._room_if_read(_BATCH)

    def fetch(self, max: int, rung: bool) -> list[Message]:
        """Read on."""
        return self._log.page(max, max_bytes=_BATCH_BYTES)

    def after(self, messages: list[Message]) -> float | None:
        """Read on until a page is empty: that is the end, unless it follows."""
        if messages:
            return 0
        if not self._follow:
            self.end("done")
        return None


def _ignore(outcome: Outcome) -> None:
    """Whatever came of it: what could not be given back comes back when its lease ends."""
