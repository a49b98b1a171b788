"""Subscriptions: the subscriptions of one consumer."""

from __future__ import annotations

from collections.abc import Callable

from raven.errors import InputError, LimitError
from raven.host.bus import HostedBus
from raven.host.host import Host
from raven.host.poller import Sink
from raven.host.push import LogPush, MailPush, Push
from raven.model.message import AckMode
from raven.query.log import LogCursor

MAX_SUBSCRIPTIONS = 1000


class Subscriptions:
    """The subscriptions of one consumer, by their numbers; their messages go to its sink."""

    def __init__(self, host: Host, sink: Sink) -> None:
        self._host = host
        self._sink = sink
        self._pushes: dict[int, Push] = {}
        self._closing: list[Push] = []  # ended subscriptions whose last fetch still runs
        self._last = 0
        self._is_paused = False

    def __len__(self) -> int:
        return len(self._pushes)

    def add_mail(self, bus: HostedBus, ack: AckMode, window: int) -> Push:
        """Subscribe to the mail of an address; nothing is pushed before the poller's `start`."""
        return self._add(lambda number: MailPush(number, self._host, self._sink, self.remove, bus, ack, window))

    def add_log(self, log: LogCursor, follow: bool) -> Push:
        """Subscribe to the log; nothing is pushed before the poller's `start`."""
        listen = self._host.reader_bus.listener
        return self._add(lambda number: LogPush(number, self._host, self._sink, self.remove, listen(), log, follow))

    def remove(self, number: int) -> None:
        """End a subscription; raises InputError if no subscription has this number."""
        push = self._find(number)
        push.close()
        self._closing = [one for one in (*self._closing, push) if one.poller.is_fetching]
        del self._pushes[number]
        self._host.wait_quota.release()

    def mail(self, number: int) -> MailPush:
        """Return a subscription to the mail of an address; raises InputError if none has this number."""
        push = self._find(number)
        if not isinstance(push, MailPush):
            raise InputError(f"subscription {number} is to the log, where nothing is acked")
        return push

    def resume(self) -> None:
        """Poll for each subscription that paused until the consumer would read."""
        for push in list(self._pushes.values()):
            push.poller.poll_if_needed()

    def is_fetching(self) -> bool:
        """Whether acked or leased messages are on their way to the consumer."""
        return any(push.poller.is_fetching for push in (*self._pushes.values(), *self._closing))

    def has_no_fifo(self) -> bool:
        """Whether one of them has no doorbell, and must poll more often."""
        return any(push.poller.has_no_fifo() for push in self._pushes.values())

    def tick(self, changed: bool) -> None:
        """Tick each subscription, once a second."""
        for push in list(self._pushes.values()):
            push.tick(changed)

    def pause(self) -> None:
        """Stop pushing, also for later subscriptions."""
        self._is_paused = True
        for push in self._pushes.values():
            push.poller.is_paused = True

    def close(self) -> None:
        """End them all."""
        self._host.wait_quota.release(len(self._pushes))
        while self._pushes:
            self._pushes.popitem()[1].close()

    def _find(self, number: int) -> Push:
        push = self._pushes.get(number)
        if push is None:
            raise InputError(f"subscription {number} is not one of this connection: give the number of an open one")
        return push

    def _add(self, make: Callable[[int], Push]) -> Push:
        if len(self._pushes) >= MAX_SUBSCRIPTIONS:
            raise LimitError(f"a connection has at most {MAX_SUBSCRIPTIONS:,} subscriptions: end some of them first")
        self._host.wait_quota.acquire()
        self._last += 1
        try:
            push = self._pushes[self._last] = make(self._last)
        except BaseException:
            self._host.wait_quota.release()
            raise
        push.poller.is_paused = self._is_paused
        return push
