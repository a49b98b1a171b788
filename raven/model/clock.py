"""The clock: microseconds since 1970 in the store, UTC datetimes in Python, ISO 8601 on the wire; and deadlines."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, overload

from raven.errors import InputError, abbreviate


def now() -> int:
    """Return the wall-clock time in microseconds since 1970."""
    return time.time_ns() // 1000


def monotonic() -> int:
    """Return the time of the monotonic clock, which is never set, in microseconds."""
    return time.monotonic_ns() // 1000


class Moment(NamedTuple):
    """A moment on the wall clock, in microseconds since 1970, and on the monotonic clock."""

    wall: int
    steady: int

    def latest(self, now: Moment) -> int:
        """Return the latest time that the wall clock has shown from this moment to `now`, even if it was set back."""
        return max(now.wall, self.wall + now.steady - self.steady)


def moment() -> Moment:
    """Return the present moment."""
    return Moment(now(), monotonic())


def to_micros(seconds: float) -> int:
    """Convert a span of seconds to microseconds."""
    return round(seconds * 1_000_000)


@lru_cache(maxsize=64)  # most messages of one batch share their times
def from_micros(micros: int) -> datetime:
    """Convert microseconds since 1970 to a datetime in UTC; out of range, to datetime.min or datetime.max."""
    # A double holds today's seconds to a quarter of a microsecond, so this rounds to the exact microsecond.
    try:
        return datetime.fromtimestamp(micros / 1e6, UTC)
    except (ValueError, OverflowError, OSError):
        return (datetime.max if micros > 0 else datetime.min).replace(tzinfo=UTC)


def optional_from_micros(micros: int | None) -> datetime | None:
    """Convert microseconds since 1970 to a datetime in UTC, and None to None."""
    return None if micros is None else from_micros(micros)


@overload
def isoformat(moment: datetime) -> str: ...
@overload
def isoformat(moment: None) -> None: ...
def isoformat(moment: datetime | None) -> str | None:
    """Format a UTC time as ISO 8601 with a Z, which JSON readers of all languages accept."""
    return None if moment is None else f"{moment.isoformat(timespec='microseconds').removesuffix('+00:00')}Z"


def optional_from_isoformat(text: str | None) -> datetime | None:
    """Parse a time in the form of `isoformat`, and None as None."""
    return None if text is None else datetime.fromisoformat(text)


def deadline_after(timeout_s: float | None) -> float | None:
    """Return the monotonic time `timeout_s` seconds from now; None if there is no timeout. Raises InputError."""
    if timeout_s is None:
        return None
    if not isinstance(timeout_s, int | float) or isinstance(timeout_s, bool) or not timeout_s >= 0:
        raise InputError(f"timeout_s {abbreviate(timeout_s)} is not a number of seconds, 0 or more")
    return time.monotonic() + timeout_s


def remaining_s(deadline: float | None) -> float | None:
    """Return the seconds until a deadline, at least 0; None if there is no deadline."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
