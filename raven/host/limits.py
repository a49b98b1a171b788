"""Limits: how many subscriptions and requests may wait at doorbells, over all connections."""

from __future__ import annotations

from raven.errors import LimitError

# The quota is this number of waits per allowed connection, or the minimum if that is more. One connection alone may use
# up the minimum.
_WAITS_PER_CONNECTION = 4
_MIN_QUOTA = 1000
# A doorbell takes two descriptors; the host examines it once a second.
_DESCRIPTORS_PER_WAIT = 2
# The host opens further descriptors: the bus three times, the log, the watch, the event loop.
_OTHER_DESCRIPTORS = 100
_MIN_QUOTA_WITHOUT_DESCRIPTORS = 100  # if descriptors are short: some of these waits then have no doorbell


class WaitQuota:
    """The number of waits that one host allows: each `acquire` takes one, and `release` returns it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0

    def acquire(self) -> None:
        """Count one more wait; raises LimitError, which is retryable, if the limit is reached."""
        if self._used >= self.limit:
            error = LimitError(
                f"{self.limit:,} subscriptions and requests of all connections wait, which is the limit: try again"
            )
            error.retryable = True
            raise error
        self._used += 1

    def release(self, count: int = 1) -> None:
        """Count `count` waits less."""
        self._used -= count


def wanted_quota(connections: int) -> int:
    """Return how many waits a host with this limit of connections should allow."""
    return max(_MIN_QUOTA, _WAITS_PER_CONNECTION * connections)


def descriptors_for(connections: int) -> int:
    """Return how many descriptors a host needs for this many connections and for all waits."""
    return connections + _DESCRIPTORS_PER_WAIT * wanted_quota(connections) + _OTHER_DESCRIPTORS


def quota_for(descriptors: float, connections: int) -> int:
    """Return how many waits a host allows if the system gives it this many descriptors."""
    remaining = (descriptors - connections - _OTHER_DESCRIPTORS) / _DESCRIPTORS_PER_WAIT
    return int(min(wanted_quota(connections), max(_MIN_QUOTA_WITHOUT_DESCRIPTORS, remaining)))
