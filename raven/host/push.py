"""Pushers: have messages fetched for one subscription each, and write no faster than the consumer reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from raven.host.bus import HostedBus
from raven.host.host import Host
from raven.host.poller import Poller, Sink
from raven.host.worker import Outcome, ignore
from raven.model.message import AckMode, Message
from raven.query.log import LogCursor
from raven.wake.listener import Listener

# What is pushed with manual acks is leased so long, and the lease is renewed three times within it.
LEASE_S = 30.0
_RENEW_S = LEASE_S / 3
# One fetch brings so many messages at most, and stops at the one with which they come to so many bytes.
_BATCH = 100
_BATCH_BYTES = 256 * 1024
_SHORTEST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05


class Push(Protocol):
    """One subscription: holds the poller that fetches for it, and writes to its sink what has come."""

    number: int
    poller: Poller

    def tick(self, changed: bool) -> None:
        """Once a second."""

    def close(self) -> None:
        """Push no more, and give back what is held; twice is allowed."""


class MailPush:
    """Pushes the mail of one address; `end` is called with its number if an error ends it."""

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
        self._subscription = bus.pull_subscription(ack=ack, lease_s=LEASE_S)
        self.poller = Poller(host, "write", self._subscription.listener, sink, self._fetch, self)
        self._pace = _Pace(sink, self.poller)

    def capacity(self) -> int:
        """Return what is left of the window: with auto acks, all of it once the consumer has read the last."""
        if self._is_leased:
            return min(self._window - len(self._unacked), _BATCH)
        return self._pace.capacity_if_drained(min(self._window, _BATCH))

    def on_fetched(self, messages: list[Message]) -> None:
        """Push what was fetched; what is leased for a subscription that was ended meanwhile is given back instead."""
        if messages and not (self._is_leased and self.poller.is_closed):
            self._sink.write(self.number, messages)
            self._host.pushed += len(messages)
            if self._is_leased:
                self.lease = messages[0].lease
                for message in messages:
                    self._unacked.add(message.id)
                    self._host.unacked.hold(self.role, message.id, self)
        due_s = self._subscription.due_s()
        if due_s is not None and not self.poller.is_closed:
            self.poller.poll_after(due_s)

    def fail(self, error: Exception) -> None:
        """End the subscription, and say why."""
        self._sink.end(self.number, "error", error)
        self._end(self.number)

    def consume(self, message_id: int) -> None:
        """Ack a message that is still leased here, else raise LeaseLostError. Runs in the thread of the writer."""
        self._subscription.consume(message_id)

    def release(self, message_id: int) -> None:
        """Note that a message was acked or given back: there is room for another."""
        self._unacked.discard(message_id)
        self.poller.poll_if_needed()

    def tick(self, changed: bool) -> None:
        """See to the doorbell, and renew the leases in good time."""
        self.poller.tick(changed)
        if self._unacked and not self.poller.is_closed and time.monotonic() - self._renewed_at >= _RENEW_S:
            self._renewed_at = time.monotonic()
            asked = frozenset(self._unacked)
            self._host.writer.submit(self._subscription.renew, lambda outcome: self._renewed(asked, outcome))

    def close(self) -> None:
        """Push no more, and give back what was not acked; twice is allowed."""
        if not self.poller.is_closed:
            self.poller.close()
            self._forget(self._unacked)
            self._host.writer.submit(self._subscription.release, ignore)

    def _fetch(self, max: int, notified: bool) -> list[Message]:
        """Take what is ready, acked or leased; runs in the thread of the writer."""
        if self._unacked and time.monotonic() - self._renewed_at > LEASE_S / 2:
            # This process stood still: what is held here must not come a second time.
            self._subscription.renew()
        return self._subscription.fetch(max, notified=notified, max_bytes=_BATCH_BYTES)

    def _renewed(self, asked: frozenset[int], outcome: Outcome) -> None:
        """Forget what was acked by other ways, or was lost to another; the consumer remembers whose lease it was."""
        if outcome.error is None:
            self._forget(asked - outcome.value)
            self.poller.poll_if_needed()

    def _forget(self, message_ids: frozenset[int] | set[int]) -> None:
        self._host.unacked.drop(self.role, message_ids, self)
        self._unacked = self._unacked - message_ids


class LogPush:
    """Pushes all messages, or those of some addresses, from one on; `end` is called with its number at the end."""

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
        self.poller = Poller(host, "read", listener, sink, self._fetch, self)
        self._pace = _Pace(sink, self.poller)

    def capacity(self) -> int:
        """Return a page once the consumer has read the last."""
        return self._pace.capacity_if_drained(_BATCH)

    def on_fetched(self, messages: list[Message]) -> None:
        """Push a page and read on until one is empty: that is the end, unless it follows."""
        if messages:
            self._sink.write(self.number, messages)
            self._host.pushed += len(messages)
        if self.poller.is_closed:
            return
        if messages:
            self.poller.poll_after(0)
        elif not self._follow:
            self._sink.end(self.number, "done")
            self._end(self.number)

    def fail(self, error: Exception) -> None:
        """End the subscription, and say why."""
        self._sink.end(self.number, "error", error)
        self._end(self.number)

    def tick(self, changed: bool) -> None:
        """See to the doorbell."""
        self.poller.tick(changed)

    def close(self) -> None:
        """Push no more; twice is allowed."""
        self.poller.close()

    def _fetch(self, max: int, notified: bool) -> list[Message]:
        """Read on; runs in the thread of the reader."""
        return self._log.page(max, max_bytes=_BATCH_BYTES)


class _Pace:
    """Lets the next batch be fetched once the consumer has read the last.

    The system tells when there is room in the pipe, but not when it has been read: then it looks again shortly.
    """

    def __init__(self, sink: Sink, poller: Poller) -> None:
        self._sink = sink
        self._poller = poller
        self._pause_s = _SHORTEST_PAUSE_S

    def capacity_if_drained(self, most: int) -> int:
        """Return `most` if all was read; else none, and have the poller look again."""
        if not self._sink.unsent_bytes():
            self._pause_s = _SHORTEST_PAUSE_S
            return most
        self._poller.poll_after(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return 0
