"""Identity: the address that a client writes as."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from raven.model import clock
from raven.model.address import Address

if TYPE_CHECKING:
    from raven.store.database import Store
    from raven.store.transaction import Transaction

_REFRESH_S = 5.0


class Identity:
    """The address that a client writes as; registers it with its first write, and notes later that it was seen."""

    def __init__(self, store: Store, address: Address, *, registers: bool) -> None:
        self._store = store
        self._in_file = -1
        self.address = str(address)
        self._parsed = address
        self._registers = registers
        self._touched_at = float("-inf")

    def touch(self, tx: Transaction) -> None:
        """Note in the caller's transaction that this identity is alive, at most every few seconds."""
        if self._registers and (
            self._in_file != self._store.replaced or time.monotonic() - self._touched_at > _REFRESH_S
        ):
            register(tx, self._parsed)
            self._store.after_commit(self._note_touched)

    def _note_touched(self, addresses: Iterable[str]) -> None:
        self._touched_at = time.monotonic()
        self._in_file = self._store.replaced

    def is_due(self) -> bool:
        """Whether it is time to note again that this identity is alive."""
        return self.is_unknown() or (self._registers and time.monotonic() - self._touched_at > _REFRESH_S)

    def is_unknown(self) -> bool:
        """Whether this identity has yet to register in this file, as it must when another took the old one's place."""
        return self._registers and self._in_file != self._store.replaced


def register(tx: Transaction, address: Address) -> None:
    """Register an address in the caller's transaction, or note that it was seen now."""
    tx.change(
        "upsert_identity",
        {"address": str(address), "role": address.role, "session": address.session, "now": clock.now()},
    )
