"""Admission: counts the writes of a host's clients against its limits, before anything is written."""

from __future__ import annotations

from raven.errors import LimitError
from raven.host.limits import ServerLimits

# A broadcast pattern reads all registered addresses: it counts as this many deliveries besides those that it makes.
PATTERN_COST = 100


class Admission:
    """Counts the deliveries of one request at a time; the writes of a host never run side by side."""

    def __init__(self, limits: ServerLimits) -> None:
        self._most = limits.deliveries
        self.deliveries = 0  # of this request, or transaction of several calls: set it to 0 for each

    def count(self, recipients: int, patterns: int) -> None:
        """Count a message before it is written; raises LimitError if the request makes too many deliveries."""
        self.deliveries += recipients + patterns * PATTERN_COST
        if self.deliveries > self._most > 0:
            raise LimitError(
                f"over the limit `deliveries` of {self._most:,} for one request, in which a pattern counts as "
                f"{PATTERN_COST}; nothing was sent: send to fewer addresses at once, in several requests"
            )
