"""BusObserver: looks at the bus without taking part; it has no address, registers nothing and marks nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from raven import config
from raven.config import Config, Durability
from raven.errors import ClosedError, InputError, LimitError, MessageNotFoundError
from raven.model import clock
from raven.model.limits import check_id, check_max
from raven.model.message import Message, State
from raven.store.database import Store
from raven.store.transaction import size_of
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells
from raven.wake.handle import Handle

if TYPE_CHECKING:
    from raven.delivery.dead_letters import DeadLetters
    from raven.model.status import Peer, Pruned, Receipt, Stats
    from raven.query.receipts import ReceiptWait


class BusObserver:
    """Reads of the whole bus: any message, conversations, who is there, and a live tail.

    Without `db_path` the bus is found as the command line finds it (`raven.config`). An observer never makes a file.
    """

    def __init__(self, db_path: str | None = None, *, busy_timeout_s: float | None = None) -> None:
        self._open(db_path, busy_timeout_s, None, create=False)

    def _open(
        self,
        db_path: str | None,
        busy_timeout_s: float | None,
        durability: Durability | None,
        *,
        checkpoints: bool = True,
        create: bool,
    ) -> Config:
        settings = config.load() if db_path is None else Config(db=str(db_path), db_source="the program")
        self._store = Store(
            settings.db,
            busy_timeout_s=settings.busy_timeout_s if busy_timeout_s is None else busy_timeout_s,
            durability=settings.durability if durability is None else durability,
            checkpoints=checkpoints,
            create=create,
        )
        self._doorbells = Doorbells(self._store.path)
        doorbells = self._doorbells
        self._handle = Handle(self._store, doorbells, lambda store: _apply_due(store, doorbells))
        return settings

    @property
    def db_path(self) -> str:
        """The absolute path of the bus file."""
        return self._store.path

    def read(self, id: int) -> Message:
        """Return one message as a whole, changing nothing; raises MessageNotFoundError."""
        check_id(id)
        self._store.verify()
        rows = self._store.rows("get_message", {"message_id": id})
        if not rows:
            raise MessageNotFoundError(f"there is no message #{id}: it was never sent, or it was pruned")
        return Message.from_row(rows[0], clock.now())

    def recipients(self, id: int) -> list[str]:
        """Return the addresses that a message was delivered to; raises MessageNotFoundError."""
        self.read(id)
        return [row[0] for row in self._store.rows("recipients_of", {"message_id": id})]

    def history(
        self,
        correlation_id: str | int | None = None,
        *,
        task_id: str | int | None = None,
        role: str | Sequence[str] | None = None,
        max: int = 1000,
    ) -> list[Message]:
        """Return the messages of one conversation or task in order, each as a whole; of some addresses only if given.

        `role` is an address or a list of them: what is from or to none of them is left out.
        """
        return self._history(correlation_id, task_id, role, max)

    def _history(
        self,
        correlation_id: str | int | None,
        task_id: str | int | None,
        role: str | Sequence[str] | None,
        max: int,
        max_bytes: int | None = None,
    ) -> list[Message]:
        if (correlation_id is None) == (task_id is None):
            raise InputError("history needs either a correlation_id or a task_id: give one of them")
        query = self._narrowed(role, max)
        if correlation_id is not None:
            rows = self._store.rows("log_correlated", {**query, "correlation_id": str(correlation_id)}, max_bytes)
        else:
            rows = self._store.rows("log_of_task", {**query, "task_id": str(task_id)}, max_bytes)
        return _messages(rows, max_bytes)

    def thread(self, id: int, *, role: str | Sequence[str] | None = None, max: int = 1000) -> list[Message]:
        """Return the conversation that a message is part of by `reply_to`: all it answers, and all answers, in order.

        Each as a whole; `role` as in `history`. Raises MessageNotFoundError.
        """
        return self._thread(id, role, max)

    def _thread(
        self, id: int, role: str | Sequence[str] | None, max: int, max_bytes: int | None = None
    ) -> list[Message]:
        check_id(id)
        rows = self._store.rows("thread", {**self._narrowed(role, max), "message_id": id}, max_bytes)
        if not rows:
            self.read(id)
        return _messages(rows, max_bytes)

    def _narrowed(self, role: str | Sequence[str] | None, max: int) -> dict[str, Any]:
        """Verify the file, and return by which parameters a conversation is narrowed."""
        from raven.query.log import encode_addresses

        check_max(max)
        addresses = encode_addresses(role)
        self._store.verify()
        return {"max": max, "addresses": addresses}

    def receipts(self, id: int) -> list[Receipt]:
        """Return how far each delivery of a message has come, in the order of its recipients; MessageNotFoundError."""
        from raven.query import receipts

        check_id(id)
        self._store.verify()
        return receipts.receipts(self._store, self._doorbells, id)

    def wait_receipt(self, id: int, state: State = "acked", timeout_s: float | None = None) -> list[Receipt]:
        """Wait until every delivery of a message has come as far as `state`, and return the receipts.

        Waking is pushed. Raises WaitTimeoutError after `timeout_s` seconds, UndeliveredError as soon as one delivery
        has expired or died instead, MessageNotFoundError.
        """
        return self._receipt_wait(id, state, timeout_s).wait()

    async def wait_receipt_async(
        self, id: int, state: State = "acked", timeout_s: float | None = None
    ) -> list[Receipt]:
        """Do as `wait_receipt` does, without blocking the event loop."""
        return await self._receipt_wait(id, state, timeout_s).wait_async()

    def _receipt_wait(self, id: int, state: State, timeout_s: float | None) -> ReceiptWait:
        from raven.query.receipts import ReceiptWait

        check_id(id)
        self._store.verify()
        return ReceiptWait(self._handle, id, state, timeout_s)

    def dead(self, role: str | None = None, *, max: int = 100) -> list[Message]:
        """Return the deliveries that have died, of one recipient where `role` is given, with `reason` and times."""
        self._store.verify()
        return self._dead_letters().letters(role, max)

    def requeue(self, *ids: int, role: str | None = None, all: bool = False) -> int:
        """Revive the dead of some messages, or all there are, or those to one address; returns how many deliveries.

        They are ready at once, with all attempts before them. Raises DeliveryError for what is not dead, ExpiredError
        for what is past its time, MessageNotFoundError; then nothing was done. `all` passes over what is past its time.
        """
        if all and ids:
            raise InputError("requeue takes ids, or all=True, not both")
        return self._dead_letters().requeue_all(role) if all else self._dead_letters().requeue(ids, role)

    def purge_dead(self, role: str | None = None) -> int:
        """Drop the deliveries that have died, all or those to one address; returns how many."""
        return self._dead_letters().purge(role)

    def _dead_letters(self) -> DeadLetters:
        from raven.delivery.dead_letters import DeadLetters

        return DeadLetters(self._store, self._doorbells)

    def peers(self, session: str | None = None) -> list[Peer]:
        """List who is registered or has mail: who is waiting now, who was seen when, how much waits for each."""
        from raven.query.peers import list_peers

        self._store.verify()
        return list_peers(self._store, self._doorbells, session)

    def stats(self, *, full: bool = True) -> Stats:
        """Return what is on the bus, how fast it moves and how long it waits; changes nothing, waits for no writer.

        Without `full` what is finished is not counted, so that the cost grows with the backlog only, and a program may
        look every second; what that leaves out is None.
        """
        from raven.query.stats import collect

        return collect(self._store, self._doorbells, full=full)

    def last_id(self) -> int:
        """Return the id of the newest message, 0 on an empty bus."""
        self._store.verify()
        return int(self._store.value("last_message_id"))

    def tail(
        self,
        from_id: int = 1,
        *,
        role: str | Sequence[str] | None = None,
        follow: bool = True,
        poll_interval_s: float = 1.0,
        timeout_s: float | None = None,
    ) -> Iterator[Message]:
        """Yield messages as a whole from an id on, in order, consuming none; with `follow`, new ones as they are sent.

        `role` narrows it to what is from or to an address, or one of several. Following ends after `timeout_s`.
        """
        from raven.query.log import LogCursor

        log = LogCursor(self._store, from_id, role)
        if not follow:
            while page := log.page():
                yield from page
            return
        from raven.wake.sigterm import raise_on_sigterm
        from raven.wake.waiter import Waiter

        deadline = clock.deadline_after(timeout_s)
        raise_on_sigterm()
        with (
            Waiter(self._handle, ALL_TRAFFIC, poll_interval_s) as waiter,
            suppress(ClosedError),
        ):
            while deadline is None or time.monotonic() < deadline:
                page = log.page()
                yield from page
                if not page:
                    waiter.wait(None if deadline is None else deadline - time.monotonic())

    def prune(
        self, older_than_s: float, *, dry_run: bool = False, progress: Callable[[Pruned], None] | None = None
    ) -> Pruned:
        """Drop finished messages older than a span of time and give their space back; what is unfinished stays.

        Done in small bites, each a transaction; `progress` is called after each. With `dry_run` it only counts.
        """
        from raven.delivery import retention

        self._store.verify()
        return retention.prune(self._store, self._doorbells.ring, older_than_s, dry_run=dry_run, progress=progress)

    def close(self) -> None:
        """Close the connection: every later call raises ClosedError, loops in other threads end. Twice is allowed."""
        self._store.close()
        self._doorbells.ring([ALL_TRAFFIC])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _messages(rows: Sequence[Any], max_bytes: int | None) -> list[Message]:
    """Return the messages of rows that were read with `max_bytes`; LimitError where they come to so much."""
    if max_bytes is not None and sum(map(size_of, rows)) >= max_bytes:
        raise LimitError(f"these messages come to {max_bytes:,} bytes or more: ask for fewer with max")
    now = clock.now()
    return [Message.from_row(row, now) for row in rows]


def _apply_due(store: Store, doorbells: Doorbells) -> None:
    """Put into effect what time has brought to deliveries, for all recipients, and wake whom it concerns."""
    from raven.delivery import expiry

    expiry.apply_due(store, doorbells.ring)
