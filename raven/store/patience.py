"""Patience: how long to wait for a lock that another writer holds, in short naps out of step with other waiters."""

from __future__ import annotations

import time

# A lock is mostly held for well under a millisecond: look again soon, then less often.
_FIRST_NAP_S = 0.0003
_LONGEST_NAP_S = 0.01


class Patience:
    """A busy handler for SQLite: called again and again while a lock is held, until it says no."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._give_up_at = 0.0

    def wait(self, naps: int) -> bool:
        """Nap once, the longer the more `naps` were taken for this lock; False when the limit is reached."""
        now = time.monotonic()
        if naps == 0:
            self._give_up_at = now + self.limit_s
        if now >= self._give_up_at:
            return False
        # Jitter from the clock's own noise keeps waiting processes out of step.
        nap = min(_FIRST_NAP_S * 2 ** min(naps, 6), _LONGEST_NAP_S) * (0.5 + time.perf_counter_ns() % 1024 / 1024)
        time.sleep(min(nap, self._give_up_at - now))
        return True
