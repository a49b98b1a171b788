"""Deadlines: until when somebody waits."""

from __future__ import annotations

import time

from raven.errors import InputError


def deadline_after(timeout_s: float | None) -> float | None:
    """Return when `timeout_s` seconds are over, by the monotonic clock, or None; raises InputError."""
    if timeout_s is None:
        return None
    if not isinstance(timeout_s, int | float) or isinstance(timeout_s, bool) or not timeout_s >= 0:
        raise InputError(f"timeout_s {timeout_s!r} is not a number of seconds, 0 or more")
    return time.monotonic() + timeout_s


def left_s(deadline: float | None) -> float | None:
    """Return how many seconds are left until a deadline, or None."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
