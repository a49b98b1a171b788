"""BusObserver: looks at the bus without taking part; it has no address, registers nothing and marks nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from raven import clock, config
from raven.address import parse_address
from raven.config import Config, Durability
from raven.doorbell import OBSERVERS, Doorbells
from raven.errors import ClosedError, InputError, MessageNotFoundError
from raven.identity import Peer, list_peers
from raven.mailbox import check_id
from raven.message import MAX_ID, Message, MessageRow
from raven.store import Store

if TYPE_CHECKING:
    from raven.retention import Pruned

_PAGE = 500
_ALL = -1


class BusObserver:
    """Reads of the whole bus: any message, conversations, who is there, and a live tail.

    Without `db_path` the bus is found as the command line finds it (`raven.config`). An observer never makes a file.
    """

    def __init__(self, db_path: str | None = None, *, busy_timeout_s: float | None = None) -> None:
        self._open(db_path, busy_timeout_s, None, create=False)

    def _open(
        self, db_path: str | None, busy_timeout_s: float | None, durability: Durability | None, *, create: bool
    ) -> Config:
        settings = config.load() if db_path is None else Config(db=str(db_path), db_source="the program")
        self._store = Store(
            settings.db,
            busy_timeout_s=settings.busy_timeout_s if busy_timeout_s is None else busy_timeout_s,
            durability=settings.durability if durability is None else durability,
            create=create,
        )
        self._doorbells = Doorbells(self._store.path)
        return settings

    @property
    def db_path(self) -> str:
        """The absolute path of the bus file."""
        return self._store.path

    def read(self, id: int) -> Message:
        """Return one message as a whole, changing nothing; raises MessageNotFoundError."""
        check_id(id)
        rows = self._store.rows("message_whole", {"message_id": id})
        if not rows:
            raise MessageNotFoundError(f"there is no message #{id}: it never was, or it was pruned")
        return MessageRow(*rows[0]).to_message(clock.now())

    def recipients(self, id: int) -> list[str]:
        """Return the addresses that a message was delivered to; raises MessageNotFoundError."""
        self.read(id)
        return [row[0] for row in self._store.rows("recipients_of", {"message_id": id})]

    def history(
        self, correlation_id: str | int | None = None, *, task_id: str | int | None = None, max: int = 1000
    ) -> list[Message]:
        """Return the messages of one conversation or task in order, each as a whole."""
        if (correlation_id is None) == (task_id is None):
            raise InputError("history needs either a correlation_id or a task_id")
        check_max(max)
        query: dict[str, Any] = {"max": max}
        if correlation_id is not None:
            rows = self._store.rows("log_correlated", {**query, "correlation_id": str(correlation_id)})
        else:
            rows = self._store.rows("log_of_task", {**query, "task_id": str(task_id)})
        now = clock.now()
        return [MessageRow(*row).to_message(now) for row in rows]

    def peers(self, session: str | None = None) -> list[Peer]:
        """List who is registered or has mail: who is waiting now, who was seen when, how much waits for each."""
        return list_peers(self._store, self._doorbells, session)

    def last_id(self) -> int:
        """Return the id of the newest message, 0 on an empty bus."""
        return int(self._store.value("last_message_id"))

    def tail(
        self,
        from_id: int = 1,
        *,
        role: str | None = None,
        follow: bool = True,
        poll_interval_s: float = 1.0,
        timeout_s: float | None = None,
    ) -> Iterator[Message]:
        """Yield messages as a whole from an id on, in order, consuming none; with `follow`, new ones as they are sent.

        `role` narrows it to what is from or to one address. Following ends after `timeout_s`, if given.
        """
        if not isinstance(from_id, int) or isinstance(from_id, bool) or not 0 <= from_id <= MAX_ID:
            raise InputError(f"from_id {from_id!r} is not the id of a message: give a number from 0 to {MAX_ID}")
        address = None if role is None else str(parse_address(role))
        if not follow:
            yield from self._log(from_id, address)
            return
        from raven import signals
        from raven.waiter import Waiter

        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        signals.unwind_on_sigterm()
        with Waiter(self._store, self._doorbells, OBSERVERS, poll_interval_s) as waiter, suppress(ClosedError):
            newest = 0
            while deadline is None or time.monotonic() < deadline:
                before, newest = newest, self.last_id()
                if newest < before:  # another file took the place of the old one
                    from_id = 1
                for message in self._log(from_id, address):
                    yield message
                    from_id = message.id + 1
                # With a filter the log may end before the newest that was there when it was read.
                from_id = max(from_id, newest + 1)
                waiter.wait(None if deadline is None else deadline - time.monotonic())

    def prune(
        self, older_than_s: float, *, dry_run: bool = False, progress: Callable[[Pruned], None] | None = None
    ) -> Pruned:
        """Drop finished messages older than a span of time and give their space back; what is unfinished stays.

        Done in small bites, each a transaction; `progress` is called after each. With `dry_run` it only counts.
        """
        from raven import retention

        return retention.prune(self._store, older_than_s, dry_run=dry_run, progress=progress)

    def close(self) -> None:
        """Close the connection: every later call raises ClosedError, loops in other threads end. Twice is allowed."""
        self._store.close()
        self._doorbells.ring([OBSERVERS])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _log(self, from_id: int, address: str | None) -> Iterator[Message]:
        """Page through the log, so that a long one is never held in memory nor pins the WAL."""
        while True:
            rows = self._store.rows("log_after", {"from_id": from_id, "address": address, "max": _PAGE})
            now = clock.now()
            for row in rows:
                yield MessageRow(*row).to_message(now)
            if len(rows) < _PAGE:
                return
            from_id = rows[-1][0] + 1


def check_max(max: object) -> None:
    """Refuse a `max` that is not a number of messages; raises InputError."""
    if not isinstance(max, int) or isinstance(max, bool) or not 1 <= max <= MAX_ID:
        raise InputError(f"max {max!r} is not a number of messages: use 1 or more, at most {MAX_ID}")
