"""Push: fetches messages for one subscription, and writes them no faster than the consumer reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple, Protocol

from raven.host.bus import HostedBus
from raven.host.host import Host
from raven.host.poller import Poller, Sink
from raven.host.worker import Outcome, ignore
from raven.model import clock
from raven.model.limits import PUSH_LEASE_S as LEASE_S
from raven.model.message import AckMode, Message
from raven.query.log import LogCursor
from raven.wake.listener import Listener

_RENEW_S = LEASE_S / 3
# One fetch returns at most this many messages, and stops before the one that brings their JSON over this many bytes.
_BATCH = 100
_BATCH_BYTES = 256 * 1024
_MIN_PAUSE_S = 0.002
_MAX_PAUSE_S = 0.05


class _Batch(NamedTuple):
    """Messages that were fetched for a consumer, and their text."""

    messages: list[Message]
    text: bytes


class Push(Protocol):
    """One subscription: owns the poller that fetches for it, and writes the messages to its sink."""

    number: int
    poller: Poller

    def tick(self, changed: bool) -> None:
        """Once a second."""

    def close(self) -> None:
        """Stop pushing, and release the unacked messages. Idempotent."""


class MailPush:
    """Pushes the mail of one address; with auto acks, `end` is called with its number if an error ends it."""

    def __init__(
        self,
        number: int,
        host: Host,
        sink: Sink,
        end: Callable[[int], None],
        bus: HostedBus,
        ack: AckMode,
        window: int,
    ) -> None:
        self.number = number
        self.role = bus.address
        self.lease: int | None = None
        self._host = host
        self._sink = sink
        self._end = end
        self._window = window
        self._is_leased = ack != "auto"
        self._unacked: set[int] = set()
        self._renewed_at = time.monotonic()
        self._leased_until = 0  # at least so long, in microseconds, the messages of the last fetch are leased
        self._is_released = False
        self._subscription = bus.pull_subscription(ack=ack, lease_s=LEASE_S)
        self.poller = Poller(host, "write", self._subscription.listener, sink, self._fetch, self)
        self._pace = _Pace(sink, self.poller)

    def capacity(self) -> int:
        """Return the free part of the window; with auto acks, all of it once the consumer has read the last batch."""
        if self._is_leased:
            free = min(self._window - len(self._unacked), _BATCH)
            return self._pace.capacity(free, drained=False) if free > 0 else 0
        return self._pace.capacity(min(self._window, _BATCH))

    def on_fetched(self, batch: _Batch | None) -> None:
        """Push the messages; if a manual subscription has ended meanwhile, `close` releases them instead."""
        if batch is None:
            self.poller.poll_after(0)
            return
        messages = batch.messages
        if messages and not (self._is_leased and self.poller.is_closed):
            self._sink.write(batch.text, messages)
            self._host.pushed += len(messages)
            if self._is_leased:
                self.lease = messages[0].lease
                for message in messages:
                    self._unacked.add(message.id)
                    self._host.unacked.hold(self.role, message.id, self)
        next_due_s = self._subscription.next_due_s()
        if next_due_s is not None and not self.poller.is_closed:
            self.poller.poll_after(next_due_s)

    def fail(self, error: Exception) -> None:
        """Stop pushing, and report the error.

        The consumer may not have read all that was pushed: the messages are released when it closes the subscription or
        its connection, or their leases end.
        """
        self.poller.close()
        self._sink.end(self.number, "error", error)
        if not self._is_leased:
            self._end(self.number)

    def held(self) -> dict[int, int]:
        """Return the ids of the messages that are leased here, and the ends of their leases; see PullSubscription.held.

        The leases end in 10 s or later. Runs in the thread of the writer.
        """
        return self._subscription.held(LEASE_S / 3)

    def unacked(self) -> frozenset[int]:
        """Return the ids of the messages that fill the window."""
        return frozenset(self._unacked)

    def on_held(self, unacked: frozenset[int], held: Collection[int]) -> None:
        """Forget those of the `unacked` messages that were acked elsewhere, or lost to another consumer, and poll.

        Leases still has their leases.
        """
        self._forget(unacked.difference(held))
        self.poller.poll_if_needed()

    def consume(self, message_id: int) -> None:
        """Ack a message that is still leased here, else raise LeaseLostError. Runs in the thread of the writer."""
        self._subscription.consume(message_id)

    def release(self, message_id: int) -> None:
        """Note that a message was acked or released, and poll for another."""
        self._unacked.discard(message_id)
        self.poller.poll_if_needed()

    def tick(self, changed: bool) -> None:
        """Check the doorbell, and renew the leases in time."""
        self.poller.tick(changed)
        if self._unacked and not self.poller.is_closed and time.monotonic() - self._renewed_at >= _RENEW_S:
            self._renewed_at = time.monotonic()
            self._host.writer.submit(self._subscription.renew, partial(self._on_renewed, self.unacked()))

    def close(self) -> None:
        """Stop pushing, and release the unacked messages. Idempotent."""
        if not self._is_released:
            self._is_released = True
            self.poller.close()
            self._forget(self._unacked)
            self._host.writer.submit(self._subscription.release, ignore)

    def _fetch(self, max: int, notified: bool) -> _Batch | None:
        """Fetch ready messages, acked or leased, or return None without room; runs in the thread of the writer."""
        if not self._sink.has_room():
            return None
        if self._unacked and time.monotonic() - self._renewed_at > LEASE_S / 2:
            # This process was suspended: renew the leases first, or the fetch would return unacked messages again.
            self._subscription.renew()
        self._leased_until = clock.now() + clock.to_micros(LEASE_S)
        most = self._host.writer.page_bytes(_BATCH_BYTES)
        messages = self._subscription.fetch(max, notified=notified, max_bytes=most)
        return _encoded(self._sink, self.number, messages, self._leased_until if self._is_leased else None)

    def _on_renewed(self, unacked: frozenset[int], outcome: Outcome) -> None:
        if outcome.error is None:
            self.on_held(unacked, outcome.value)

    def _forget(self, message_ids: frozenset[int] | set[int]) -> None:
        self._host.unacked.drop(self.role, message_ids, self)
        self._unacked = self._unacked - message_ids


class LogPush:
    """Pushes all messages from an id on, or only messages of some addresses; calls `end` with its number at the end."""

    def __init__(
        self,
        number: int,
        host: Host,
        sink: Sink,
        end: Callable[[int], None],
        listener: Listener,
        log: LogCursor,
        follow: bool,
    ) -> None:
        self.number = number
        self._host = host
        self._sink = sink
        self._end = end
        self._log = log
        self._follow = follow
        self.poller = Poller(host, "log", listener, sink, self._fetch, self)
        self._pace = _Pace(sink, self.poller)

    def capacity(self) -> int:
        """Return the size of a page once the consumer has read the last one."""
        return self._pace.capacity(_BATCH)

    def on_fetched(self, batch: _Batch | None) -> None:
        """Push a page, and fetch the next until the end of the log, where the subscription ends unless it follows."""
        if self.poller.is_closed:
            return
        if batch is not None and batch.messages:
            self._sink.write(batch.text, batch.messages)
            self._host.pushed += len(batch.messages)
        if batch is None or batch.messages or not self._log.is_at_end:
            self.poller.poll_after(0)
        elif not self._follow:
            self._sink.end(self.number, "done")
            self._end(self.number)

    def fail(self, error: Exception) -> None:
        """End the subscription with this error."""
        self._sink.end(self.number, "error", error)
        self._end(self.number)

    def tick(self, changed: bool) -> None:
        """Check the doorbell."""
        self.poller.tick(changed)

    def close(self) -> None:
        """Stop pushing. Idempotent."""
        self.poller.close()

    def _fetch(self, max: int, notified: bool) -> _Batch | None:
        """Return the next page, or None without room; runs in the thread of the reader."""
        if not self._sink.has_room():
            return None
        return _encoded(self._sink, self.number, self._log.step(max, max_bytes=_BATCH_BYTES))


def _encoded(sink: Sink, number: int, messages: list[Message], leased_until: int | None = None) -> _Batch:
    return _Batch(messages, sink.encode(number, messages, leased_until) if messages else b"")


class _Pace:
    """Delays the next batch until the consumer has read the last one.

    The system reports free space in the socket's buffer, but no event when the consumer has read it: hence the poll.
    """

    def __init__(self, sink: Sink, poller: Poller) -> None:
        self._sink = sink
        self._poller = poller
        self._pause_s = _MIN_PAUSE_S

    def capacity(self, most: int, *, drained: bool = True) -> int:
        """Return `most` if the sink has room, and with `drained` the consumer has read everything.

        Otherwise return 0, and poll again soon.
        """
        if self._sink.has_room() and not (drained and self._sink.unsent_bytes()):
            self._pause_s = _MIN_PAUSE_S
            return most
        self._poller.poll_after(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)
        return 0
