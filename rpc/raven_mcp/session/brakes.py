"""Brakes: how often a session is woken at most, so that no flood and no loop of agents uses up its tokens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

# While the messages of the last push are unread, the next push waits for so long.
UNREAD_PAUSE_S = 5.0
MAX_WAKES = 60
# Of one turn, by notices at its stops.
MAX_CONTINUES = 3
_HOUR_S = 3600.0
# A message at this depth of its thread wakes no session, if all messages before it came within this span.
MAX_DEPTH = 20
THREAD_SPAN_S = 600.0


class Brakes:
    """Counts the wakes of one session; `clock` is a monotonic clock.

    A wake is a push, or a notice at a stop, after which the agent goes on. After 60 within an hour none comes until the
    hour is over, and until the agent has looked at its mail.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wakes: deque[float] = deque()
        self._is_muted = False
        self._pushed_at = float("-inf")
        self._unread: set[int] = set()

    def may_wake(self) -> bool:
        """Whether the session may be woken now."""
        while self._wakes and self._wakes[0] <= self._clock() - _HOUR_S:
            self._wakes.popleft()
        return not self._is_muted and len(self._wakes) < MAX_WAKES

    def may_push(self) -> bool:
        """Whether the session may be woken by a push now."""
        return self.may_wake() and not (self._unread and self._clock() - self._pushed_at < UNREAD_PAUSE_S)

    @property
    def is_last(self) -> bool:
        """Whether the next wake is the last one before the mute."""
        return len(self._wakes) == MAX_WAKES - 1

    def woke(self) -> None:
        """Count a wake."""
        self._wakes.append(self._clock())
        self._is_muted = len(self._wakes) >= MAX_WAKES

    def pushed(self, ids: Iterable[int]) -> None:
        """Count a push, with the messages that it told of."""
        self.woke()
        self._pushed_at = self._clock()
        self._unread = set(ids)

    def looked(self, ids: Iterable[int]) -> None:
        """Note that the agent has looked at its mail, and was shown some messages."""
        self._is_muted = False
        if not self._unread.isdisjoint(ids):
            self._unread = set()
