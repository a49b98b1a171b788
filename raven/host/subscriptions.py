"""Subscriptions: what one consumer has subscribed to."""

from __future__ import annotations

from collections.abc import Callable

from raven.errors import InputError, LimitError
from raven.host.bus import HostedBus
from raven.host.host import Host
from raven.host.poller import Sink
from raven.host.pushers import LogPusher, MailPusher, Pusher
from raven.model.message import AckMode
from raven.query.log import Log

MAX_SUBSCRIPTIONS = 1000


class Subscriptions:
    """The subscriptions of one consumer, by their numbers; what comes for them goes to its sink."""

    def __init__(self, host: Host, sink: Sink) -> None:
        self._host = host
        self._sink = sink
        self._pushers: dict[int, Pusher] = {}
        self._leaving: list[Pusher] = []  # those that ended while a fetch was under way
        self._last = 0
        self._is_paused = False

    def __len__(self) -> int:
        return len(self._pushers)

    def add_mail(self, bus: HostedBus, ack: AckMode, window: int) -> Pusher:
        """Subscribe to the mail of an address; nothing is pushed before the poller's `start`."""
        return self._add(lambda number: MailPusher(number, self._host, self._sink, self.remove, bus, ack, window))

    def add_log(self, log: Log, follow: bool) -> Pusher:
        """Subscribe to the log; nothing is pushed before the poller's `start`."""
        listen = self._host.reader_bus.listener
        return self._add(lambda number: LogPusher(number, self._host, self._sink, self.remove, listen(), log, follow))

    def remove(self, number: int) -> None:
        """End a subscription; raises InputError where there is none of that number."""
        pusher = self._find(number)
        pusher.close()
        self._leaving = [one for one in (*self._leaving, pusher) if one.poller.is_fetching]
        del self._pushers[number]
        self._host.wait_quota.release()

    def mail(self, number: int) -> MailPusher:
        """Return a subscription to the mail of an address; raises InputError where there is none of that number."""
        pusher = self._find(number)
        if not isinstance(pusher, MailPusher):
            raise InputError(f"subscription {number} is to the log, where nothing is acked")
        return pusher

    def resume(self) -> None:
        """Push what waited for the consumer to read."""
        for pusher in list(self._pushers.values()):
            pusher.poller.poll_if_needed()

    def is_fetching(self) -> bool:
        """Whether messages are on their way to the consumer, acked already or leased."""
        return any(pusher.poller.is_fetching for pusher in (*self._pushers.values(), *self._leaving))

    def is_deaf(self) -> bool:
        """Whether one of them has no doorbell, and must look more often."""
        return any(pusher.poller.is_deaf() for pusher in self._pushers.values())

    def tick(self, changed: bool) -> None:
        """Once a second."""
        for pusher in list(self._pushers.values()):
            pusher.tick(changed)

    def pause(self) -> None:
        """Push no more, nor for those that are still to come."""
        self._is_paused = True
        for pusher in self._pushers.values():
            pusher.poller.is_paused = True

    def close(self) -> None:
        """End them all."""
        self._host.wait_quota.release(len(self._pushers))
        while self._pushers:
            self._pushers.popitem()[1].close()

    def _find(self, number: int) -> Pusher:
        pusher = self._pushers.get(number)
        if pusher is None:
            raise InputError(f"subscription {number} is not one of this connection: give the number of an open one")
        return pusher

    def _add(self, make: Callable[[int], Pusher]) -> Pusher:
        if len(self._pushers) >= MAX_SUBSCRIPTIONS:
            raise LimitError(f"a connection has at most {MAX_SUBSCRIPTIONS:,} subscriptions: end some of them first")
        self._host.wait_quota.acquire()
        self._last += 1
        try:
            pusher = self._pushers[self._last] = make(self._last)
        except BaseException:
            self._host.wait_quota.release()
            raise
        pusher.poller.is_paused = self._is_paused
        return pusher
