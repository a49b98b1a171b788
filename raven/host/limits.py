"""Places: how many subscriptions and requests may wait at doorbells, over all connections."""

from __future__ import annotations

from raven.errors import LimitError

# For each connection that may be; and so many in any case, which one connection may have for itself.
_PER_CONNECTION = 4
_AT_LEAST = 1000
# Each has a doorbell, which is two descriptors, and is looked after once a second.
_DESCRIPTORS = 2
# What else is open: the bus three times, the log, the watch, the event loop.
_OTHERS = 100
_FEWEST = 100  # where there are too few descriptors, so that not all doorbells can be had


class Places:
    """The places of one host; whoever takes one gives it back."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._taken = 0

    def take(self) -> None:
        """Take a place; raises LimitError, which is retryable, where there is none."""
        if self._taken >= self.count:
            error = LimitError(
                f"{self.count:,} subscriptions and requests of all connections wait, which is the limit: try again"
            )
            error.retryable = True
            raise error
        self._taken += 1

    def give_back(self, count: int = 1) -> None:
        """Give places back."""
        self._taken -= count


def wanted_for(connections: int) -> int:
    """Return how many places there should be for so many connections."""
    return max(_AT_LEAST, _PER_CONNECTION * connections)


def descriptors_for(connections: int) -> int:
    """Return how many descriptors it takes to have so many connections, and all places."""
    return connections + _DESCRIPTORS * wanted_for(connections) + _OTHERS


def count_for(descriptors: float, connections: int) -> int:
    """Return how many places there are where the system gives so many descriptors."""
    left = (descriptors - connections - _OTHERS) / _DESCRIPTORS
    return int(min(wanted_for(connections), max(_FEWEST, left)))
