"""Deadline: wait for an event that must come, by the monotonic clock.

A deadline is that of a quiet machine. When it has passed, and only then, it is measured how slow the machine is at the
moment, and the deadline extended in proportion: a test says the same on a busy machine, and no less on a quiet one.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import TypeVar

# Far longer than any step takes.
DEADLINE_S = 20.0
# A loop of so many passes takes so long on a quiet machine of 2026.
_PASSES, _PASSES_TAKE_S = 2_000_000, 0.025
# A machine that is slower still has another fault.
_SLOWEST = 20.0
_T = TypeVar("_T")


def slowness(clock: Callable[[], float] = time.monotonic) -> float:
    """Return how many times longer than on a quiet machine a piece of work takes now by a clock; 1 at least.

    By the clock `time.process_time`, other programs count only as far as they slow the processor down.
    """
    began = clock()
    for _ in range(_PASSES):
        pass
    return min(_SLOWEST, max(1.0, (clock() - began) / _PASSES_TAKE_S))


class Limit(float):
    """Seconds within which a step ends on a quiet machine; `took_s < limit` allows a slow machine more."""

    def __gt__(self, took_s: float) -> bool:
        return float(self) > took_s or float(self) * slowness() > took_s

    def __radd__(self, more_s: float) -> Limit:
        return Limit(more_s + float(self))


class Deadline:
    """The end of a wait of `timeout_s`, which begins now."""

    def __init__(self, timeout_s: float) -> None:
        self._began = time.monotonic()
        self._timeout_s = self._limit_s = float(timeout_s)

    def left_s(self) -> float:
        """Return the seconds that are left; when they have passed, those that a slow machine needs more, or 0."""
        took_s = time.monotonic() - self._began
        if took_s >= self._limit_s > 0:
            self._limit_s = self._timeout_s * slowness()
        return max(0.0, self._limit_s - took_s)

    def poll(self, poller: select.poll) -> bool:
        """Wait until a descriptor of the poller is ready; returns False if none is in time."""
        while not poller.poll(1000 * self.left_s()):
            if not self.left_s():
                return False
        return True


def wait_until(condition: Callable[[], _T], what: str, timeout_s: float = DEADLINE_S, every_s: float = 0.005) -> _T:
    """Return the first true value of a condition, polled every `every_s` seconds; AssertionError after `timeout_s`."""
    deadline = Deadline(timeout_s)
    while not (value := condition()):
        assert deadline.left_s(), f"waited {timeout_s:g} s in vain for: {what}"
        time.sleep(every_s)
    return value
