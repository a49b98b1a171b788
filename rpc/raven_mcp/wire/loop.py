"""Loop: the one thread of the server waits here, for descriptors and for timers."""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

READ, WRITE = select.POLLIN, select.POLLOUT


class Timer(NamedTuple):
    """A callback that is due at a time of the monotonic clock."""

    at: float
    number: int
    callback: Callable[[], object]


class Loop:
    """Calls back when a descriptor is ready or a timer is due; a callback must not block.

    `on_fault` is called with an exception of a callback; without it, the exception leaves `turn`.
    """

    def __init__(self, on_fault: Callable[[Exception], object] | None = None) -> None:
        self._on_fault = on_fault
        self._poller = select.poll()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._timers: list[Timer] = []
        self._cancelled: set[int] = set()
        self._numbers = count()

    def watch(self, fd: int, callback: Callable[[], object], events: int = READ) -> None:
        """Call back whenever a descriptor is ready; a second call for the same descriptor replaces the first."""
        self._callbacks[fd] = callback
        self._poller.register(fd, events)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor; do so before you close it. An unknown one is ignored."""
        if self._callbacks.pop(fd, None) is not None:
            self._poller.unregister(fd)

    def add(self, at: float, callback: Callable[[], object]) -> Timer:
        """Call back once, at a time of `time.monotonic`."""
        timer = Timer(at, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """Forget a timer; one that was called back is ignored."""
        if timer in self._timers:
            self._cancelled.add(timer.number)

    def turn(self, until: float) -> None:
        """Wait for a descriptor or a timer, at most until a time of the monotonic clock, and call back."""
        if self._timers:
            until = min(until, self._timers[0].at)
        for fd, _ in self._poller.poll(max(0.0, (until - time.monotonic()) * 1000)):
            # An earlier callback of this turn may have closed a descriptor.
            callback = self._callbacks.get(fd)
            if callback is not None:
                self._call(callback)
        self._call_due()

    def _call_due(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].at <= now:
            timer = heapq.heappop(self._timers)
            if timer.number in self._cancelled:
                self._cancelled.discard(timer.number)
            else:
                self._call(timer.callback)

    def _call(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception as error:
            if self._on_fault is None:
                raise
            self._on_fault(error)
