"""Maintenance: the work that is due by the clock, whatever changes in the bus's folder and however often loops poll.

Settling ends leases, delays and lifetimes. Sweeping removes the doorbells of dead subscribers. Trimming truncates an
idle WAL. The WAL watcher's thread and the server call `run_due` often; only the monotonic clock decides what runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from raven.errors import RavenError
from raven.store.database import Store
from raven.wake.doorbell import Doorbells

# Sweeping and trimming start at least this often; a call that comes a little early counts, so that the pause is never
# longer than a second for a caller that comes once a second.
INTERVAL_S = 0.9
# After work that took long, a rest of this many times its duration, but no longer than a second.
_REST_FACTOR = 50
_MAX_REST_S = 1.0
# One sweep takes this long at most; the next goes on with the folders that are left.
_SWEEP_S = 0.01
_TURN_S = 0.5
_TRUNCATE_WAL_FROM = 256 * 1024


class Maintenance:
    """Says what is due when, and runs it: settling, sweeping and trimming, each at most a second after the last time.

    `settle` gets the store of the calling thread. With `trims_idle`, a WAL is only trimmed if it was not written for a
    second: a writer then overwrites it from its start, which costs less than to extend it anew.
    """

    def __init__(self, doorbells: Doorbells, settle: Callable[[Store], object], *, trims_idle: bool = False) -> None:
        self._doorbells = doorbells
        self._settle = settle
        self._trims_idle = trims_idle
        self._wal_version = (0, 0)
        self._unswept: list[str] = []
        self._settle_at = self._sweep_at = self._trim_at = 0.0

    def run_due(self, store: Store) -> None:
        """Run the work that is due now; a failure (another writer, a full disk) only delays it to the next time."""
        if time.monotonic() >= self._settle_at:
            self._settle_at = _run(lambda: self._settle_now(store), 0.0)
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = _run(self._sweep, INTERVAL_S)
        if time.monotonic() >= self._trim_at:
            self._trim_at = _run(lambda: self._trim(store), INTERVAL_S)

    def _settle_now(self, store: Store) -> None:
        # Beside long transactions it waits for its turn: less than a second, since this thread rings for others, too.
        store.busy_handler.limit(_TURN_S, lambda: self._settle(store))

    def _sweep(self) -> None:
        began = time.monotonic()
        self._unswept = self._unswept or self._doorbells.folders()
        while self._unswept and time.monotonic() - began < _SWEEP_S:
            self._doorbells.sweep_folder(self._unswept.pop())

    def _trim(self, store: Store) -> None:
        before, self._wal_version = self._wal_version, store.wal_version()
        if store.wal_size() >= _TRUNCATE_WAL_FROM and not (self._trims_idle and before != self._wal_version):
            store.truncate_wal()


def _run(work: Callable[[], None], pause_s: float) -> float:
    """Run a piece of work, and return the time at which it is due again."""
    began = time.monotonic()
    with suppress(RavenError):
        work()
    ended = time.monotonic()
    return max(began + pause_s, ended + min(_REST_FACTOR * (ended - began), _MAX_REST_S))
