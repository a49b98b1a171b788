"""Deadline: wait for an event that must come, by the monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

# Far longer than any step takes, even on a busy machine.
DEADLINE_S = 20.0
_T = TypeVar("_T")


def wait_until(condition: Callable[[], _T], what: str, timeout_s: float = DEADLINE_S, every_s: float = 0.005) -> _T:
    """Return the first true value of a condition, polled every `every_s` seconds; AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for: {what}"
        time.sleep(every_s)
    return value
