"""Identity: the address under which a client writes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from raven.errors import InputError, abbreviate
from raven.model import clock
from raven.model.address import Address, is_private

if TYPE_CHECKING:
    from raven.store.database import Store
    from raven.store.transaction import Transaction

_REFRESH_S = 5.0


class Identity:
    """The address of one client; its writes register the address and update `last_seen`."""

    def __init__(self, store: Store, address: Address, *, registers: bool, ttl_s: float | None = None) -> None:
        self._store = store
        self._registered_in = -1
        self.address = str(address)
        self._parsed = address
        self._registers = registers and not is_private(self.address)
        self._heartbeat_at = float("-inf")
        # Several times before the address would be forgotten.
        self._refresh_s = _REFRESH_S if ttl_s is None else min(_REFRESH_S, ttl_s / 4)

    def heartbeat(self, tx: Transaction) -> None:
        """Update `last_seen` in the caller's transaction, at most every few seconds."""
        if self._registers and (
            self._registered_in != self._store.replaced or time.monotonic() - self._heartbeat_at > self._refresh_s
        ):
            register(tx, self._parsed)
            tx.after_commit(self._record_heartbeat)

    def _record_heartbeat(self, addresses: Iterable[str]) -> None:
        self._heartbeat_at = time.monotonic()
        self._registered_in = self._store.replaced

    def heartbeat_due(self) -> bool:
        """Whether the next write should update `last_seen`."""
        return self.unregistered() or (self._registers and time.monotonic() - self._heartbeat_at > self._refresh_s)

    def unregistered(self) -> bool:
        """Whether the address must still register in this file, as after the file was replaced."""
        return self._registers and self._registered_in != self._store.replaced


def register(tx: Transaction, address: Address) -> None:
    """Register an address, or update its `last_seen`, in the caller's transaction.

    Raises InputError for a private reply address: no broadcast may reach it, and no list may show it.
    """
    if is_private(str(address)):
        raise InputError(f"{abbreviate(str(address))} has the form of a private reply address: use another role")
    tx.change(
        "upsert_identity",
        {"address": str(address), "role": address.role, "session": address.session, "now": clock.now()},
    )
