"""BusObserver: reads the bus without an address; it registers no address and marks no message as delivered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from raven import config
from raven.config import Config, Durability
from raven.errors import ClosedError, InputError, MessageNotFoundError
from raven.model import clock
from raven.model.limits import GRACE_S, check_id, check_max
from raven.model.message import Message, State
from raven.store.database import Store
from raven.store.errors import LOADING
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells
from raven.wake.handle import Handle

if TYPE_CHECKING:
    from raven.delivery.dead_letters import DeadLetters
    from raven.model.status import Forgotten, Peer, Pruned, Receipt, Stats
    from raven.query.receipts import ReceiptWait


class BusObserver:
    """A client without an address, which reads the whole bus: messages, conversations, receipts, peers, a live tail.

    >>> with BusObserver("bus.db") as observer:
    ...     for msg in observer.tail(follow=False):
    ...         print(msg.id, msg.sender, msg.type)

    An observer never creates a bus file. Without `db_path` it finds the bus as the command line does: RAVEN_DB, then
    raven.yaml, then the per-user default. `busy_timeout_s` is how long a write waits for another writer (5 s).

    Messages have the view of the sender, except in `dead`: `recipient` is the `to` of the message, and `state` is the
    state of the delivery that has advanced least. All methods raise DatabaseError if the file cannot be used.
    """

    # The JSON array of the addresses as which a HostedBus reads, see its `scoped`; None for the whole bus.
    _scope: str | None = None

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
        identity_ttl_s: float | None = None,
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
        ttl_s = self._identity_ttl_s = settings.identity_ttl_s if identity_ttl_s is None else identity_ttl_s
        self._handle = Handle(self._store, doorbells, lambda store: settle(store, doorbells, ttl_s))
        return settings

    @property
    def db_path(self) -> str:
        """The absolute path of the bus file."""
        return self._store.path

    def read(self, id: int) -> Message:
        """Return one message and change nothing; raises MessageNotFoundError."""
        return Message.from_row(self._row(id), clock.now())

    def _row(self, id: int) -> tuple[Any, ...]:
        """Return the row of a message as a whole; raises MessageNotFoundError."""
        self._require(id)
        rows: list[tuple[Any, ...]] = self._rows("get_message", {"message_id": id})
        if not rows:
            raise _not_found(id)
        return rows[0]

    def _require(self, id: int) -> None:
        """Check an id and verify the file; raises MessageNotFoundError for a message that the scope does not show."""
        check_id(id)
        self._store.verify()
        if self._scope is not None and not self._store.value("can_see", {"message_id": id, "scope": self._scope}):
            raise _not_found(id)

    def _rows(
        self, name: str, params: dict[str, Any], max_bytes: int | None = None, *, whole: bool = False
    ) -> list[Any]:
        """Run a named SELECT, or the one that shows only what the scope may see."""
        if self._scope is not None:
            name, params = f"scoped_{name}", {**params, "scope": self._scope}
        return self._store.rows(name, params, max_bytes, whole=whole)

    def recipients(self, id: int) -> list[str]:
        """Return the recipients of a message, a broadcast's included; raises MessageNotFoundError."""
        self._require(id)
        rows = self._rows("recipients_of", {"message_id": id})
        if not rows:
            self.read(id)
        return [row[0] for row in rows]

    def history(
        self,
        correlation_id: str | int | None = None,
        *,
        task_id: str | int | None = None,
        role: str | Sequence[str] | None = None,
        max: int = 1000,
    ) -> list[Message]:
        """Return up to `max` messages with this `correlation_id`, or this `task_id`, by id.

        Give exactly one of the two. `role`, an address or a list of addresses, keeps the messages from or to any of
        them. Raises InputError.
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
        query = self._filters(role, max)
        if correlation_id is not None:
            query["correlation_id"] = str(correlation_id)
            return _messages(self._rows("log_correlated", query, max_bytes, whole=True))
        query["task_id"] = str(task_id)
        return _messages(self._rows("log_of_task", query, max_bytes, whole=True))

    def thread(self, id: int, *, role: str | Sequence[str] | None = None, max: int = 1000) -> list[Message]:
        """Return the whole conversation of a message by id: all messages that `reply_to` connects with it.

        `role` filters as in `history`. Raises MessageNotFoundError.
        """
        return self._thread(id, role, max)

    def _thread(
        self, id: int, role: str | Sequence[str] | None, max: int, max_bytes: int | None = None
    ) -> list[Message]:
        query = {**self._filters(role, max), "message_id": id}
        self._require(id)
        rows = self._rows("thread", query, max_bytes, whole=True)
        if not rows:
            self.read(id)
        return _messages(rows)

    def _filters(self, role: str | Sequence[str] | None, max: int) -> dict[str, Any]:
        """Verify the file, and return the query parameters that limit a conversation."""
        with LOADING:
            from raven.query.log import encode_addresses

        check_max(max)
        addresses = encode_addresses(role)
        self._store.verify()
        return {"max": max, "addresses": addresses}

    def receipts(self, id: int) -> list[Receipt]:
        """Return a receipt for each delivery of a message, in the order of its recipients; MessageNotFoundError."""
        with LOADING:
            from raven.query import receipts

        self._require(id)
        return receipts.receipts(self._store, self._doorbells, id, self._scope)

    def wait_receipt(self, id: int, state: State = "acked", timeout_s: float | None = None) -> list[Receipt]:
        """Wait until every delivery of a message has reached `state`, and return the receipts.

        Each change wakes the wait. Raises WaitTimeoutError after `timeout_s` seconds (None: no limit), UndeliveredError
        as soon as one delivery has expired or died instead, MessageNotFoundError.
        """
        return self._receipt_wait(id, state, timeout_s).wait()

    async def wait_receipt_async(
        self, id: int, state: State = "acked", timeout_s: float | None = None
    ) -> list[Receipt]:
        """Do as `wait_receipt` does, without blocking the event loop."""
        return await self._receipt_wait(id, state, timeout_s).wait_async()

    def _receipt_wait(self, id: int, state: State, timeout_s: float | None) -> ReceiptWait:
        with LOADING:
            from raven.query.receipts import ReceiptWait

        check_id(id)
        return ReceiptWait(self._handle, id, state, timeout_s)

    def dead(self, role: str | None = None, *, max: int = 100) -> list[Message]:
        """Return up to `max` dead letters, of one recipient if `role` is given, with `reason` and times."""
        self._store.verify()
        return self._dead_letters().letters(role, max)

    def requeue(self, *ids: int, role: str | None = None, all: bool = False) -> int:
        """Make the dead letters of some messages ready again; returns the number of deliveries.

        Give message ids, or `all=True`; `role` limits both to one recipient. The deliveries are ready at once, with a
        fresh attempt count. Raises DeliveryError if a delivery is not dead, ExpiredError if it has expired,
        MessageNotFoundError; then no delivery was changed. `all=True` skips expired deliveries.
        """
        if all and ids:
            raise InputError("requeue takes ids, or all=True, not both")
        return self._dead_letters().requeue_all(role) if all else self._dead_letters().requeue(ids, role)

    def purge_dead(self, role: str | None = None) -> int:
        """Drop all dead letters, or only the ones of `role`; returns their number."""
        return self._dead_letters().purge(role)

    def _dead_letters(self) -> DeadLetters:
        with LOADING:
            from raven.delivery.dead_letters import DeadLetters

        return DeadLetters(self._store, self._doorbells)

    def peers(self, session: str | None = None) -> list[Peer]:
        """List the addresses that are registered or have mail: subscribers now, last use, and pending mail of each."""
        with LOADING:
            from raven.query.peers import list_peers

        self._store.verify()
        return list_peers(self._store, self._doorbells, session, self._scope)

    def stats(self, *, full: bool = True) -> Stats:
        """Return the counts, rates and latencies of the bus; changes nothing, and waits for no writer.

        Without `full`, finished deliveries are not counted and their fields are None. The cost then grows only with the
        backlog, so that a program can call this every second.
        """
        with LOADING:
            from raven.query.stats import collect

        return collect(self._store, self._doorbells, full=full, scope=self._scope)

    def last_id(self) -> int:
        """Return the id of the newest message; 0 on an empty bus."""
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
        """Yield all messages from an id on, by id, and consume none; with `follow` also each new message.

        `role`, an address or a list of addresses, keeps the messages from or to any of them. `follow` ends after
        `timeout_s` seconds (None: no limit). Each send wakes the tail, and it polls every `poll_interval_s` seconds.
        """
        with LOADING:
            from raven.query.log import LogCursor

        log = LogCursor(self._store, from_id, role)
        if not follow:
            while page := log.page():
                yield from page
            return
        with LOADING:
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
        self,
        older_than_s: float,
        *,
        dry_run: bool = False,
        progress: Callable[[Pruned], None] | None = None,
        grace_s: float = GRACE_S,
        unfinished: bool = False,
    ) -> Pruned:
        """Drop finished messages older than `older_than_s` seconds, and shrink the file; unfinished messages stay.

        Messages for which a program may still wait stay, too, counted as `kept`: requests without an answer, those that
        were finished less than `grace_s` seconds ago, and those for whose receipts a program waits now. With
        `unfinished`, the unfinished deliveries of that age expire first, counted as `expired`; they have no grace.

        Messages are dropped in small batches, each a transaction; `progress` is called after each. With `dry_run` they
        are only counted.
        """
        with LOADING:
            from raven.delivery import retention

        self._store.verify()
        return retention.prune(
            self._store,
            self._doorbells.ring,
            older_than_s,
            dry_run=dry_run,
            progress=progress,
            grace_s=grace_s,
            unfinished=unfinished,
            is_awaited=self._doorbells.is_awaited,
        )

    def forget(self, *targets: str) -> Forgotten:
        """Unregister addresses, and let the mail that waits for them expire now.

        A target is an address, or a pattern (`*:session`, `role:*`, `*:*`) that means all addresses that match. A
        leased message expires at the end of its lease, unless it is acked. Senders with `report="undelivered"` get
        their reports, and waits for receipts end. A client that still uses such an address registers it again with one
        of its next writes, and so does another host that shows it: forget it there too. Raises AddressError.
        """
        with LOADING:
            from raven.delivery import forgetting

        self._store.verify()
        return forgetting.forget(self._store, self._doorbells.ring, targets)

    def close(self) -> None:
        """Close the connection: later calls raise ClosedError, loops in other threads end. Idempotent."""
        self._store.close()
        self._doorbells.ring([ALL_TRAFFIC])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _messages(rows: Sequence[Any]) -> list[Message]:
    now = clock.now()
    return [Message.from_row(row, now) for row in rows]


def settle(store: Store, doorbells: Doorbells, identity_ttl_s: float | None, at_most_s: float = 0.1) -> None:
    """Apply the due timers of all deliveries, and forget the addresses that no client has used for `identity_ttl_s`.

    Each takes about `at_most_s` seconds; the next call does the rest.
    """
    with LOADING:
        from raven.delivery import expiry

    expiry.apply_due(store, doorbells.ring, at_most_s)
    if identity_ttl_s is not None:
        with LOADING:
            from raven.delivery import forgetting

        forgetting.forget_unseen(store, doorbells, identity_ttl_s, at_most_s)


def _not_found(id: int) -> MessageNotFoundError:
    return MessageNotFoundError(f"there is no message #{id}: it was never sent, or it was pruned")
