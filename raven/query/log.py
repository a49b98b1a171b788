"""LogCursor: reads on through all messages of the bus, page by page."""

from __future__ import annotations

from collections.abc import Sequence

from raven.errors import InputError
from raven.model import body as bodies
from raven.model import clock
from raven.model.address import parse_address
from raven.model.limits import MAX_ID, check_max, is_integer
from raven.model.message import Message
from raven.store.database import Store

PAGE = 500


class LogCursor:
    """A place in the log, from which `page` reads on; consumes nothing.

    In pages, so that a long log is never held in memory nor pins the WAL. Where another file takes the place of the
    bus, or a backup is restored into it, so that its newest message is an older one, it begins anew with the first.
    """

    def __init__(self, store: Store, from_id: int, role: str | Sequence[str] | None) -> None:
        if not is_integer(from_id, 0, MAX_ID):
            raise InputError(f"from_id {from_id!r} is not the id of a message: give a number from 0 to {MAX_ID}")
        self._store = store
        self._next_id = from_id
        self._file = store.replaced
        self._newest = 0
        self._addresses = encode_addresses(role)

    def page(self, max: int = PAGE, *, max_bytes: int | None = None) -> list[Message]:
        """Return up to `max` more messages as a whole, in order; none where the newest was read.

        With `max_bytes` it stops after the message with which they come to so much.
        """
        check_max(max)
        self._store.verify()
        newest = int(self._store.value("last_message_id"))
        if self._file != self._store.replaced or newest < self._newest:
            self._file, self._next_id = self._store.replaced, 1
        if not self._store.nesting():  # what a transaction has sent may yet be undone
            self._newest = newest
        query = {"from_id": self._next_id, "addresses": self._addresses, "max": max}
        rows = self._store.rows("log_after", query, max_bytes)
        if rows:
            self._next_id = rows[-1][0] + 1
        if not rows and self._next_id <= newest:
            # With a filter the rows may end before the newest that was there when they were read: no need to scan anew.
            self._next_id = newest + 1
        now = clock.now()
        return [Message.from_row(row, now) for row in rows]


def encode_addresses(role: str | Sequence[str] | None) -> str | None:
    """Return an address, or a list of them, as the JSON array by which statements filter; None for all."""
    if role is None:
        return None
    return bodies.encode([str(parse_address(text)) for text in ([role] if isinstance(role, str) else role)])
