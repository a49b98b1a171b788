"""Log: all messages of the bus in order, read page by page."""

from __future__ import annotations

from collections.abc import Sequence

from raven.errors import InputError, abbreviate
from raven.model import body as bodies
from raven.model import clock
from raven.model.address import parse_address
from raven.model.limits import MAX_ID, check_max, is_integer
from raven.model.message import Message
from raven.store.database import Store

PAGE = 500
# With a filter, one read looks at no more messages than this.
WINDOW = 2000


class LogCursor:
    """A position in the log, from which `page` reads on; consumes nothing.

    Pages keep a long log out of memory, and their short reads let checkpoints finish. If another file replaces the bus,
    or a restored backup has an older newest message, the cursor starts again at the first message.
    """

    def __init__(self, store: Store, from_id: int, role: str | Sequence[str] | None, scope: str | None = None) -> None:
        if not is_integer(from_id, 0, MAX_ID):
            raise InputError(
                f"from_id {abbreviate(from_id)} is not the id of a message: give a number from 0 to {MAX_ID}"
            )
        self._store = store
        self._next_id = from_id
        self._file = store.replaced
        self._newest = 0
        self.is_at_end = False
        self._addresses = encode_addresses(role)
        self._scope = scope
        self._statement = "log_after" if scope is None else "scoped_log_after"

    @property
    def next_id(self) -> int:
        """The id from which the next page reads on."""
        return self._next_id

    def page(self, max: int = PAGE, *, max_bytes: int | None = None) -> list[Message]:
        """Return up to `max` more messages in order; empty after the newest message.

        `max_bytes`: stop before the message that brings their JSON over this many bytes.
        """
        while not (messages := self.step(max, max_bytes=max_bytes)) and not self.is_at_end:
            pass
        return messages

    def step(self, max: int = PAGE, *, max_bytes: int | None = None) -> list[Message]:
        """Return as `page` does, but look at no more than `WINDOW` messages; the end is where `is_at_end` is true."""
        check_max(max)
        self._store.verify()
        newest = int(self._store.value("last_message_id"))
        if self._file != self._store.replaced or newest < self._newest:
            self._file, self._next_id = self._store.replaced, 1
        if not self._store.in_block():  # a transaction's own sends may be rolled back
            self._newest = newest
        last = newest
        if (self._addresses or self._scope) is not None and newest - self._next_id >= WINDOW:
            # Most of these messages may be those of others.
            window = {"after": self._next_id - 1, "rows": WINDOW}
            last = min(newest, self._store.value("retention_window", window) or newest)
        query = {
            "from_id": self._next_id,
            "last_id": last,
            "addresses": self._addresses,
            "max": max,
            "scope": self._scope,
        }
        rows = self._store.rows(self._statement, query, max_bytes)
        if rows:
            self._next_id = rows[-1][0] + 1
        elif self._next_id <= last:
            self._next_id = last + 1
        self.is_at_end = self._next_id > newest
        now = clock.now()
        return [Message.from_row(row, now) for row in rows]


def encode_addresses(role: str | Sequence[str] | None) -> str | None:
    """Return one or several addresses as the JSON array that statements filter by; None for all."""
    if role is None:
        return None
    return bodies.encode([str(parse_address(text)) for text in ([role] if isinstance(role, str) else role)])
