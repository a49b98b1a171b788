"""Prospect: what there is to do for an address, seen without the write lock."""

from __future__ import annotations

from typing import NamedTuple

from raven.model import clock


class Prospect(NamedTuple):
    """What there is to do for an address: something is ready, a delay or lease ends at `due_at`, something expired."""

    ready: int
    due_at: int | None
    expired: int

    def is_due(self, now: int) -> bool:
        """Whether a delay or a lease has ended by `now` (microseconds)."""
        return self.due_at is not None and self.due_at <= now

    def is_promising(self) -> bool:
        """Whether a claim has anything to do now; what expired at other addresses is reason enough for nobody."""
        return bool(self.ready) or self.is_due(clock.now())

    def due_s(self) -> float | None:
        """Return in how many seconds the next delay or lease ends, or None."""
        return None if self.due_at is None else max(0.0, (self.due_at - clock.now()) / 1e6)


# What a ring promises before anyone has looked.
RUNG = Prospect(ready=1, due_at=None, expired=0)
