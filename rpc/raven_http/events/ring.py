"""Ring: the latest events, encoded once for all viewers, bounded by their number and their bytes."""

from __future__ import annotations

from collections.abc import Iterable

from raven_http.events.source import Event

_EVENTS = 2000
_BYTES = 8 * 1024 * 1024
# The text of a longer event is not kept: a viewer that wants it reads it from the store.
_LONG = 256 * 1024


class Ring:
    """The latest events, each with a number one higher than the one before; `next` is the number of the next event."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._first = 0
        self._bytes = 0
        self.next = 0

    def add(self, events: Iterable[Event]) -> None:
        """Add events, and drop the oldest beyond the bounds."""
        for event in events:
            if event.size() > _LONG:
                event.texts.clear()
            self._bytes += event.size()
            self._events.append(event)
        self.next = self._first + len(self._events)
        count = 0
        while len(self._events) - count > _EVENTS or self._bytes > _BYTES:
            self._bytes -= self._events[count].size()
            count += 1
        del self._events[:count]
        self._first += count

    def after(self, number: int, most: int) -> list[Event] | None:
        """Return up to `most` events from a number on; None if the ring has dropped the first of them."""
        if number < self._first:
            return None
        start = number - self._first
        return self._events[start : start + most]

    def clear(self) -> None:
        """Drop all events."""
        self._first, self._bytes = self.next, 0
        self._events.clear()
