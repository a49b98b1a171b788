"""HostedBus: one address on the bus, in a program with an event loop of its own that speaks for many addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Self, TypeVar
from weakref import WeakSet

from raven.client import BusClient, members
from raven.config import Durability
from raven.delivery.outbox import Admission
from raven.model import body as bodies
from raven.model import clock
from raven.model.address import Address, parse_address
from raven.model.limits import check_max
from raven.model.message import AckMode, Message
from raven.model.new_message import NewMessage
from raven.observer import BusObserver, settle
from raven.query.changes import ChangeLog
from raven.query.log import LogCursor, encode_addresses
from raven.query.roster import Roster
from raven.receive.request import PendingRequest
from raven.receive.subscription import PullSubscription, check
from raven.store.atomic import Atomic
from raven.wake.doorbell import ALL_TRAFFIC, receipt_address
from raven.wake.listener import Listener
from raven.wake.maintenance import Maintenance

_T = TypeVar("_T")


class HostedBus(BusClient):
    """A BusClient whose connection serves many addresses; the program itself waits and runs maintenance.

    Its subscriptions and requests never block: the program waits at their `listener`. One thread may `prepare` messages
    that another sends. With `checkpoints=False` no write runs a checkpoint: call `checkpoint` now and then.
    """

    _is_child = False
    admission: Admission | None = None  # counts the sends of this connection; set it before `for_address`
    _maintenance: Maintenance | None = None

    def _join(self, address: Address, register: bool) -> None:
        super()._join(address, register)
        self._outbox.admission = self.admission
        self._children: WeakSet[HostedBus] = WeakSet()

    def for_address(self, address: str, *, register: bool = True) -> Self:
        """Return a client of another address over this one's connection.

        It registers with its first write, and is closed with this one; its own `close` ends only its loops.
        """
        child = copy(self)
        child._is_child = True
        child._join(parse_address(address), register)
        self._children.add(child)
        return child

    def scoped(self, addresses: Sequence[str]) -> Self:
        """Return a client over this one's connection that reads only what these addresses may see.

        It shows messages from or to them, and of each message only their own deliveries, unless one of them is the
        sender. Other messages do not exist for `read`, `recipients`, `receipts`, `history`, `thread` and `log`.
        `peers` counts the pending mail of these addresses only, and `stats` shows only these addresses.
        """
        view = copy(self)
        view._scope = encode_addresses(addresses)
        return view

    def require(self, id: int) -> None:
        """Raise MessageNotFoundError for a message that the addresses of `scoped` may not see; reads no body."""
        self._require(id)

    def close(self) -> None:
        """Close the connection; the client of `for_address` only ends its loops."""
        for child in members(self._children):
            child.close()
        if self._is_child:
            self._release_loops()
            self._doorbells.ring_each(self.address)
        else:
            super().close()

    @property
    def durability(self) -> Durability:
        """The durability of a commit: "normal" survives the death of any process, "full" also a power loss."""
        return self._store.durability

    def prepare(self, to: str | Sequence[str], type: str, body: Any = None, **options: Any) -> NewMessage:
        """Check a message for `send_prepared`, without access to the bus; takes `send`'s arguments. InputError."""
        return self._prepare(to, type, body, options)

    def prepare_reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> NewMessage:
        """Check a reply for `send_prepared`; takes `reply`'s arguments."""
        return self._prepare_reply(msg, type, body, options)

    def send_prepared(self, messages: Sequence[NewMessage]) -> list[Message]:
        """Send messages that `prepare` has checked, in one transaction: all of them or none."""
        return self._outbox.send_many(messages)

    def send_prepared_one(self, message: NewMessage) -> Message:
        """Do as `send_prepared` does for one message, faster."""
        return self._outbox.send(message)

    # Bounded reads: each stops before the JSON of its messages is over `max_bytes`; a message that no page can hold
    # comes without its body.

    def inbox(self, max: int = 100, peek: bool = False, *, max_bytes: int | None = None) -> list[Message]:
        """Return the messages that are not acked, as BusClient does."""
        check_max(max)
        return self._mailbox.inbox(max, peek, max_bytes)

    def claim(
        self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True, max_bytes: int | None = None
    ) -> list[Message]:
        """Claim ready messages, as BusClient does."""
        return self._claim(max, lease_s, max_bytes, remember)

    def dead(self, role: str | None = None, *, max: int = 100, max_bytes: int | None = None) -> list[Message]:
        """Return the dead deliveries, as BusObserver does."""
        self._store.verify()
        return self._dead_letters().letters(role, max, max_bytes)

    def history(
        self,
        correlation_id: str | int | None = None,
        *,
        task_id: str | int | None = None,
        role: str | Sequence[str] | None = None,
        max: int = 1000,
        max_bytes: int | None = None,
    ) -> list[Message]:
        """Return one conversation or task, as BusObserver does; LimitError if it is over `max_bytes`."""
        return self._history(correlation_id, task_id, role, max, max_bytes)

    def thread(
        self, id: int, *, role: str | Sequence[str] | None = None, max: int = 1000, max_bytes: int | None = None
    ) -> list[Message]:
        """Return one conversation, as BusObserver does; LimitError if it is over `max_bytes`."""
        return self._thread(id, role, max, max_bytes)

    # For the event loop of the program

    def pending_request(
        self, to: str | Sequence[str], type: str, body: Any = None, *, timeout_s: float, **options: Any
    ) -> PendingRequest:
        """Check a request, given as to `request`: `send` it, then fetch the reply from its `pull_subscription`."""
        return self._pending_request(to, type, body, timeout_s=timeout_s, **options)

    def read_whole(self, id: int) -> Message:
        """Return one message as a whole, not as one recipient sees it; raises MessageNotFoundError."""
        return BusObserver.read(self, id)

    def read_head(self, id: int) -> Message:
        """Return one message as `read_whole` does, but without its body, which may be long."""
        return Message.from_row(self._row(id), clock.now(), value=None)

    def pull_subscription(self, *, ack: AckMode = "auto", lease_s: float = 30.0) -> PullSubscription:
        """Return a subscription to the mail of this address: wait at its `listener`, then fetch."""
        check(ack, lease_s)
        return PullSubscription(self._mailbox, Listener(self._handle, self.address), ack, lease_s)

    def log(self, from_id: int = 1, *, role: str | Sequence[str] | None = None) -> LogCursor:
        """Return a cursor in the log; `role` as in `tail`."""
        return LogCursor(self._store, from_id, role, self._scope)

    def change_log(self) -> ChangeLog:
        """Return the change log of the bus, as the addresses of `scoped` may see it."""
        return ChangeLog(self._store, self._scope)

    def roster(self) -> Roster:
        """Return a reader of all addresses with their mail, as the addresses of `scoped` may see them."""
        return Roster(self._store, self._doorbells, self._scope)

    def listener(self, *, receipts_of: int | None = None, watch: bool = True) -> Listener:
        """Return a listener that every send rings; the program then reads on in the `log`.

        With `receipts_of` it is rung instead when a delivery of that message changes its state. `watch` as for a
        Listener.
        """
        address = ALL_TRAFFIC if receipts_of is None else receipt_address(receipts_of)
        return Listener(self._handle, address, watch=watch)

    def data_version(self) -> int:
        """Return a number that changes when another connection has committed."""
        self._store.verify()
        return int(self._store.pragma("data_version"))

    def unfinished_of(self, senders: Sequence[str]) -> tuple[list[tuple[int, int, int]], list[str]]:
        """Return the unfinished mail of senders as (id, deliveries, bytes), and its recipients not registered."""
        query = {"senders": bodies.encode(list(senders))}
        strangers = self._store.rows("unregistered_recipients", query)
        return self._store.rows("unfinished_of_senders", query), [row[0] for row in strangers]

    def atomic(self) -> Atomic:
        """Commit all writes of this thread in a block at once, also those by clients of `for_address`."""
        return Atomic(self._store)

    def no_wait(self, step: Callable[[], _T]) -> _T:
        """Call `step` and return its result; its writes raise BusyError instead of waiting for another writer."""
        return self._store.no_wait(step)

    def after_commit(self, action: Callable[[], object]) -> None:
        """Run an action once this thread's open transaction is committed, never if it is rolled back; else at once."""
        self._store.after_commit(lambda _: action())

    def run_maintenance(self, at_most_s: float = 0.05) -> None:
        """Run the due Maintenance, then delete by the retention limits; settles and deletes for about `at_most_s` each.

        Waiting and sending clients do this themselves; a program that serves many addresses calls it once a second.
        """
        self._store.verify()
        if self._maintenance is None:
            doorbells, ttl_s = self._doorbells, self._identity_ttl_s
            self._maintenance = Maintenance(doorbells, lambda store: settle(store, doorbells, ttl_s, at_most_s))
        self._maintenance.run_due(self._store)
        if self._retention is not None:
            self._retention.run(at_most_s)

    def wal_size(self) -> int:
        """Return the size of the WAL in bytes."""
        return self._store.wal_size()

    def checkpoint(self) -> None:
        """Checkpoint the WAL; without `checkpoints=False` writes do so themselves now and then."""
        self._store.checkpoint()
