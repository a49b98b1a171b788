"""Queue state: what a mailbox says about its ready deliveries, and the leases on them."""

from __future__ import annotations

from typing import NamedTuple

from raven.model import clock
from raven.model.message import MessageRow


class QueueState(NamedTuple):
    """Whether an address has a ready delivery, when its next delay or lease ends, and whether any mail expired."""

    ready: int
    due_at: int | None
    expired: int

    def is_due(self, now: int) -> bool:
        """Whether a delay or a lease has ended by `now` (microseconds)."""
        return self.due_at is not None and self.due_at <= now

    def has_work(self) -> bool:
        """Whether a claim has work now; expired messages of other addresses do not count."""
        return bool(self.ready) or self.is_due(clock.now())

    def next_due_s(self) -> float | None:
        """Return the seconds until the next delay or lease ends; None if no delivery is delayed or leased."""
        return None if self.due_at is None else max(0.0, (self.due_at - clock.now()) / 1e6)


# After a ring, before the first peek.
ASSUME_READY = QueueState(ready=1, due_at=None, expired=0)


class Claim(NamedTuple):
    """Prefetched deliveries under the lease `token`."""

    token: int
    rows: list[MessageRow]


class Lease(NamedTuple):
    """The token of one consumer's leases, and the seconds for which each claim or renewal lasts."""

    token: int
    span_s: float
