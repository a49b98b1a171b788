"""Subscriptions: what one connection has subscribed to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from raven import BusClient, InputError, LimitError, Log
from raven_rpc.server.pushers import LogPusher, MailPusher, Pusher

if TYPE_CHECKING:
    from raven_rpc.server.connection import Connection
    from raven_rpc.server.server import Server

MAX_SUBSCRIPTIONS = 1000


class Subscriptions:
    """The subscriptions of one connection, by their numbers."""

    def __init__(self, server: Server, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._pushers: dict[int, Pusher] = {}
        self._last = 0
        self._is_paused = False

    def __len__(self) -> int:
        return len(self._pushers)

    def add_mail(self, bus: BusClient, ack: str, window: int) -> Pusher:
        """Subscribe to the mail of an address; nothing is pushed before its `start`."""
        return self._add(lambda number: MailPusher(number, self._server, self._connection, bus, ack, window))

    def add_log(self, log: Log, follow: bool) -> Pusher:
        """Subscribe to the log; nothing is pushed before its `start`."""
        listen = self._server.reader_bus.listener
        return self._add(lambda number: LogPusher(number, self._server, self._connection, listen(), log, follow))

    def remove(self, number: int) -> None:
        """End a subscription; raises InputError where there is none of that number."""
        self._find(number).close()
        del self._pushers[number]
        self._server.places.give_back()

    def mail(self, number: int) -> MailPusher:
        """Return a subscription to the mail of an address; raises InputError where there is none of that number."""
        pusher = self._find(number)
        if not isinstance(pusher, MailPusher):
            raise InputError(f"subscription {number} is to the log, where nothing is acked")
        return pusher

    def go_on(self) -> None:
        """Push what waited for the client to read."""
        for pusher in list(self._pushers.values()):
            pusher.go_on()

    def is_deaf(self) -> bool:
        """Whether one of them has no doorbell, and must look more often."""
        return any(pusher.is_deaf() for pusher in self._pushers.values())

    def tick(self, changed: bool) -> None:
        """Once a second."""
        for pusher in list(self._pushers.values()):
            pusher.tick(changed)

    def pause(self) -> None:
        """Push no more, nor for those that are still to come."""
        self._is_paused = True
        for pusher in self._pushers.values():
            pusher.pause()

    def close(self) -> None:
        """End them all."""
        self._server.places.give_back(len(self._pushers))
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
        self._server.places.take()
        self._last += 1
        try:
            pusher = self._pushers[self._last] = make(self._last)
        except BaseException:
            self._server.places.give_back()
            raise
        if self._is_paused:
            pusher.pause()
        return pusher
