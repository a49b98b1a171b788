"""Ended leases: what the loops of one client still hold, given back as soon as the file allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from raven.delivery import expiry
from raven.model import clock
from raven.model.message import DEAD
from raven.store.database import Store
from raven.store.transaction import Transaction


class EndedLeases:
    """The leases of one address that have ended, and whose release is not committed yet.

    A loop may end where it must not wait for another writer: in the garbage collector, in an event loop. Its messages
    keep their place: the client's next fetch releases them first, and any other write of the client afterwards.
    """

    def __init__(self, store: Store, recipient: str, ring: Callable[[Iterable[str]], object]) -> None:
        self._store = store
        self._recipient = recipient
        self._ring = ring
        self._tokens: set[int] = set()

    def release(self, token: int, at_most_s: float | None = None) -> bool:
        """Release all unfinished deliveries of a lease, and wake the waiters of the address; raises BusyError.

        With `at_most_s` it waits no longer, and for no thread, see `Store.when_free`: returns whether it is done.
        """
        self._tokens.add(token)
        if at_most_s is None:
            self.release_rest()
            return True
        return self._store.when_free(self.release_rest, at_most_s)

    def release_rest(self) -> None:
        """Release the rest in a transaction, if there is any."""
        if self._tokens:
            self._store.write(self.release_in, is_verified=True)

    def release_in(self, tx: Transaction) -> None:
        """Release the rest within a transaction of the caller."""
        if not self._tokens:  # nearly always
            return
        tokens, now = set(self._tokens), clock.now()
        for token in tokens:
            rows = tx.rows("release", {"recipient": self._recipient, "lease": token, "now": now})
            if rows:
                dead = [delivery_id for delivery_id, state in rows if state == DEAD]
                tx.after_commit(self._ring, [self._recipient, *expiry.report_undelivered(tx, dead)])
        tx.after_commit(lambda _: self._tokens.difference_update(tokens))
