"""Pushers: fetch for one subscription each, and write no faster than the client reads."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from raven import BusClient, Listener, Log, Message
from raven_rpc.jsonrpc import errors as faults
from raven_rpc.jsonrpc import messages as protocol
from raven_rpc.server.poller import Fetcher, ignore
from raven_rpc.server.worker import Lane, Outcome

if TYPE_CHECKING:
    from raven_rpc.server.connection import Connection
    from raven_rpc.server.server import Server

# What is pushed with manual acks is leased so long, and the lease is renewed three times within it.
LEASE_S = 30.0
_RENEW_S = LEASE_S / 3
# One fetch brings so many messages at most, and stops at the one with which they come to so many bytes.
_BATCH = 100
_BATCH_BYTES = 256 * 1024
_SHORTEST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05


class Pusher(Fetcher):
    """One subscription: fetches when its doorbell rings and there is room, and writes what it has got.

    One fetch is under way at a time, so all that a slow client can pile up is one batch; the rest stays in the store.
    """

    gives_back = False

    def __init__(self, number: int, server: Server, connection: Connection, listener: Listener) -> None:
        super().__init__(server, connection, listener)
        self.number = number
        self._is_paused = False
        self._pause_s = _SHORTEST_PAUSE_S

    @abstractmethod
    def after(self, messages: list[Message]) -> float | None:
        """Note what was pushed; returns in how many seconds to look again unrung, or None."""

    def go_on(self) -> None:
        """Fetch if there is reason to, and room, unless it is paused."""
        if not self._is_paused:
            super().go_on()

    def submit(self, room: int, rung: bool) -> None:
        """Have a fetch done; its connection does not close meanwhile."""
        self._connection.fetching += 1
        super().submit(min(room, _BATCH), rung)

    def fetched(self, outcome: Outcome) -> None:
        """Push what was fetched, and go on."""
        self._connection.fetching -= 1
        super().fetched(outcome)
        if self._is_paused:  # the connection waited for this before it closes
            self._connection.take_turn()
        self.go_on()

    def take_in(self, value: list[Message]) -> None:
        """Push what was fetched; what is leased for a subscription that was ended meanwhile goes back instead."""
        if value and not (self._is_closed and self.gives_back):
            self._push(value)
        if self._is_closed:
            return
        due = self.after(value)
        if due == 0:
            self._is_due = True
        elif due is not None:
            self.look_in(due)

    def fail(self, error: Exception) -> None:
        """End the subscription, and say why."""
        self.end("error", faults.to_wire(error))

    def pause(self) -> None:
        """Push no more."""
        self._is_paused = True

    def end(self, reason: str, error: dict[str, Any] | None = None) -> None:
        """Tell the client that nothing more will come, and close."""
        told: dict[str, Any] = {"subscription": self.number, "reason": reason}
        self._connection.push(
            protocol.encode(protocol.notification("end", told if error is None else {**told, "error": error}))
        )
        self._connection.subscriptions.remove(self.number)

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
        self.look_in(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return 0


class MailPusher(Pusher):
    """The mail of one address."""

    def __init__(
        self, number: int, server: Server, connection: Connection, bus: BusClient, ack: Any, window: int
    ) -> None:
        self._subscription = bus.subscription(ack=ack, lease_s=LEASE_S)
        super().__init__(number, server, connection, self._subscription.listener)
        self.role = bus.address
        self.lease: int | None = None
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
        if self.gives_back and messages:
            self.lease = messages[0].lease
            self._connection.leases.remember(self.role, messages)
            for message in messages:
                self._unacked.add(message.id)
                self._server.held[self.role, message.id] = self
        return self._subscription.due_s()

    def take(self, message_id: int) -> None:
        """Ack a message that is still leased here; LeaseLostError where it is not. Runs in the thread of the lane."""
        self._subscription.take(message_id)

    def release(self, message_id: int) -> None:
        """Note that a message was acked or given back: there is room for another."""
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
            self._server.submit("write", self._subscription.give_back, ignore)

    def _renewed(self, asked: frozenset[int], outcome: Outcome) -> None:
        """Forget what was acked by other ways, or was lost to another; the connection remembers whose lease it was."""
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
