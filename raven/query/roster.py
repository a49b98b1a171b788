"""Roster: all addresses of the bus, each with its subscribers and its mail by kind."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from raven.model import clock
from raven.model.address import is_private
from raven.model.status import as_json
from raven.store.database import Store
from raven.wake.doorbell import Doorbells


class RosterEntry(NamedTuple):
    """One address that is registered or has mail: its subscribers, and its unfinished and dead deliveries.

    `pending` is the sum of `ready`, `delayed`, `in_flight` and `held`, those that other hosts hold. `oldest_at` is the
    send time of the oldest ready message. The first two times are None if the address never used the bus. `host` is the
    other host at which the address is used, None if it is one of this host.
    """

    address: str
    role: str
    session: str
    registered_at: datetime | None
    last_seen: datetime | None
    waiting: int
    pending: int
    ready: int
    delayed: int
    in_flight: int
    dead: int
    oldest_at: datetime | None
    host: str | None
    held: int

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 in UTC."""
        return as_json(self._asdict())


class Roster:
    """Reads the roster again and again, and counts the mail anew only if the bus has changed.

    Private reply addresses are left out. With `scope`, the JSON array of some addresses, only their mail is counted:
    other addresses must be registered, and have none.
    """

    def __init__(self, store: Store, doorbells: Doorbells, scope: str | None = None) -> None:
        self._store = store
        self._doorbells = doorbells
        self._scope = frozenset(json.loads(scope)) if scope else None
        self._replaced = -1
        self._entries: list[RosterEntry] = []

    def read(self, *, changed: bool = True) -> list[RosterEntry]:
        """Return an entry for each address, in short reads that block no writer.

        Without `changed`, the caller knows that no program has written since the last call: it counts subscribers only.
        """
        self._store.verify()
        if changed or self._replaced != self._store.replaced:
            self._replaced = self._store.replaced
            self._entries = self._counted()
        attended = set(self._doorbells.folders())
        return [self._attended(entry, attended) for entry in self._entries]

    def _attended(self, entry: RosterEntry, attended: set[str]) -> RosterEntry:
        # Most of many addresses have no doorbell: one listing of all folders is faster.
        if not attended or self._doorbells.folder_for(entry.address) not in attended:
            return entry
        return entry._replace(waiting=self._doorbells.count_waiting(entry.address, doors=False))

    def _counted(self) -> list[RosterEntry]:
        now = clock.now()
        registered = {row[0]: row for row in self._store.rows("list_identities", {"session": None})}
        unfinished = {row[0]: row for row in self._store.rows("unacked_by_recipient", {"now": now})}
        died = dict(self._store.rows("dead_by_recipient"))
        if self._scope is not None:
            unfinished = {address: row for address, row in unfinished.items() if address in self._scope}
            died = {address: count for address, count in died.items() if address in self._scope}
        entries = []
        for address in dict.fromkeys([*registered, *unfinished, *died]):
            # Not parsed: one invalid address from an external writer must not hide the others.
            if is_private(address):
                continue
            role, _, session = address.partition(":")
            _, registered_at, last_seen, host = registered.get(address, (address, None, None, None))
            _, ready, delayed, leased, dead, _, sent_at, held = unfinished.get(
                address, (address, 0, 0, 0, 0, None, None, 0)
            )
            entries.append(
                RosterEntry(
                    address=address,
                    role=role,
                    session=session,
                    registered_at=clock.optional_from_micros(registered_at),
                    last_seen=clock.optional_from_micros(last_seen),
                    waiting=0,
                    pending=ready + delayed + leased + held,
                    ready=ready,
                    delayed=delayed,
                    in_flight=leased,
                    dead=dead + died.get(address, 0),
                    oldest_at=clock.optional_from_micros(sent_at),
                    host=host,
                    held=held,
                )
            )
        return entries
