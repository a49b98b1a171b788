"""Presence: the addresses on the bus and its statistics, read about once a second while a viewer wants them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from raven.host.host import Host
from raven.host.worker import Outcome
from raven.model import clock
from raven.query.roster import RosterEntry
from raven_http.events.source import frame

if TYPE_CHECKING:
    import asyncio

_PAUSE_S = 1.0
_STATS_PAUSE_S = 2.0
# Reading takes at most a tenth of the time.
_PAUSES_PER_READ = 9
_MAX_GONE = 1000


class _Peer(NamedTuple):
    """The latest event of one address, the version in which it changed, and the values that make it another event."""

    version: int
    text: bytes
    key: RosterEntry


class _Reading(NamedTuple):
    """One reading; `stats` is None if it was not due."""

    roster: list[RosterEntry]
    stats: dict[str, Any] | None
    took_s: float
    state: object


class Presence:
    """Keeps the latest peer event of each address and the latest stats event; calls `on_change` after a new one.

    `state` returns a value that changes with each commit on the bus: in between, no mail is counted.
    """

    def __init__(
        self, host: Host, bound: Sequence[str], state: Callable[[], object], on_change: Callable[[], None]
    ) -> None:
        self._host = host
        self._bus = host.admin_bus.scoped(bound) if bound else host.admin_bus
        self._roster = self._bus.roster()
        self._state = state
        self._on_change = on_change
        self._timer: asyncio.TimerHandle | None = None
        self._is_reading = self._is_wanted = self._wants_stats = False
        self.forget()

    def forget(self) -> None:
        """Forget all: the next reading is as the first."""
        self.version = self.stats_version = 0
        self.stats = b""
        self._peers: dict[str, _Peer] = {}
        self._gone: dict[str, _Peer] = {}
        self._seen_state: object = None
        self._last_roster: list[RosterEntry] = []
        self._stats_at = float("-inf")
        self._last_stats: dict[str, Any] = {}

    def want(self, *, peers: bool, stats: bool) -> None:
        """Begin to read, go on, or stop."""
        is_new = ((peers or stats) and not self._is_wanted) or (stats and not self._wants_stats)
        self._is_wanted, self._wants_stats = peers or stats, stats
        if is_new and not self._is_reading:
            self._read()
        elif not self._is_wanted:
            self._cancel()
            self.forget()

    def peers_after(self, version: int) -> list[tuple[str, bytes]]:
        """Return the addresses that have changed after a version, each with its event."""
        if version == self.version:
            return []
        changed = (*self._gone.items(), *self._peers.items())
        return [(address, peer.text) for address, peer in changed if peer.version > version]

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read(self) -> None:
        self._cancel()
        state = self._state()
        changed = state != self._seen_state
        # Without traffic the rates sink to 0, and then stay there.
        is_due = time.monotonic() - self._stats_at >= _STATS_PAUSE_S
        stats = self._wants_stats and is_due and (changed or any(self._last_stats.get("rates", {"": 1}).values()))
        self._is_reading = True
        self._host.admin.submit(lambda: self._collect(state, changed, stats), self._on_read)

    def _collect(self, state: object, changed: bool, stats: bool) -> _Reading:
        """Read the bus; in the thread for long work."""
        began = time.monotonic()
        roster = self._roster.read(changed=changed)
        figures = None
        if stats:
            read = self._bus.stats(full=False)
            figures = {
                "ready": read.ready,
                "delayed": read.delayed,
                "in_flight": read.in_flight,
                "dead": read.dead,
                "held": read.held,
                "rates": read.rates._asdict(),
                "peers": len(roster),
            }
        return _Reading(roster, figures, time.monotonic() - began, state)

    def _on_read(self, outcome: Outcome) -> None:
        self._is_reading = False
        pause_s = _PAUSE_S
        if not self._is_wanted:
            return
        if outcome.error is None:  # otherwise the next reading may succeed
            reading: _Reading = outcome.value
            pause_s = max(_PAUSE_S, _PAUSES_PER_READ * reading.took_s)
            self._take(reading)
        self._timer = self._host.loop.call_later(pause_s, self._read)

    def _take(self, reading: _Reading) -> None:
        # Most readings have the entries of the one before.
        has_changed = reading.roster != self._last_roster and self._take_roster(reading.roster)
        if reading.stats is not None:
            self._stats_at = time.monotonic()
            if reading.stats != self._last_stats:
                self._last_stats = reading.stats
                at = clock.isoformat(clock.from_micros(clock.now()))
                self.stats = frame("stats", {"at": at, **reading.stats})
                self.stats_version += 1
                has_changed = True
        # The state stands for a count of both: if the stats were not due, they are due next time.
        if reading.stats is not None or not self._wants_stats:
            self._seen_state = reading.state
        if has_changed:
            self._on_change()

    def _take_roster(self, entries: list[RosterEntry]) -> bool:
        """Encode the entries that have changed; returns whether any has."""
        self._last_roster = entries
        version = self.version + 1
        for entry in entries:
            key = entry._replace(last_seen=None)
            before = self._peers.get(entry.address)
            if before is None or before.key != key:
                self.version = version
                self._peers[entry.address] = _Peer(version, frame("peer", entry.as_dict()), key)
                self._gone.pop(entry.address, None)
        for address in self._peers.keys() - {entry.address for entry in entries}:
            self.version = version
            text = frame("peer", {"address": address, "gone": True})
            self._gone[address] = _Peer(version, text, self._peers.pop(address).key)
        while len(self._gone) > _MAX_GONE:
            self._gone.pop(next(iter(self._gone)))
        return self.version == version
