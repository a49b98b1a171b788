"""Deadline: waiting for something that must come, by the monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

# Far more than anything takes on a machine that is busy with other things.
DEADLINE_S = 20.0
_T = TypeVar("_T")


def wait_until(condition: Callable[[], _T], what: str, timeout_s: float = DEADLINE_S, every_s: float = 0.005) -> _T:
    """Return the first true value of a condition, looked at `every_s` seconds; fails if none comes in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for: {what}"
        time.sleep(every_s)
    return value
