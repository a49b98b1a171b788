"""BusClient: one address on the bus, which sends and receives messages.

Long because one class has all calls of an address, and most of the lines are the guarantees of each call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack
from weakref import WeakSet

from raven.config import Durability, Retention, check_ttl
from raven.delivery.identity import Identity, register
from raven.delivery.outbox import Outbox
from raven.errors import ConfigError, ExpiredError, InputError, abbreviate
from raven.model import clock
from raven.model.address import Address, make_address, parse_address
from raven.model.limits import check_lease, check_max, check_max_attempts, check_span
from raven.model.message import INHERITED, Message, State
from raven.model.new_message import (
    NewMessage,
    SendOptions,
    build,
    build_many,
    check_optional_text,
    check_request,
)
from raven.observer import BusObserver
from raven.store.errors import LOADING

if TYPE_CHECKING:
    from raven.delivery.mailbox import Mailbox
    from raven.delivery.retention import RetentionWorker
    from raven.receive.auto_ack import AsyncMessageIterator, AutoAckConsumer
    from raven.receive.request import PendingRequest, Request
    from raven.store.transaction import Transaction
    from raven.transaction import BusTransaction

_T = TypeVar("_T")


class BusClient(BusObserver):
    """A client with one address, `<role>:<session>`, which sends and receives messages.

    >>> a = BusClient(session_id="swarm-1", role="conductor", db_path="bus.db")
    >>> b = BusClient(session_id="swarm-1", role="architect", db_path="bus.db")
    >>> sent = a.send(to=b.address, type="plan", body={"step": 1})
    >>> for msg in b.inbox():
    ...     b.ack(msg.id)

    The constructor creates a missing file (mode 0600), unless `create=False`. It registers the address, so that
    broadcasts reach it, unless `register=False`. Without `db_path` the bus and its settings are found as the command
    line finds them: RAVEN_DB, then raven.yaml, then the per-user default. An argument overrides its setting:

    - `busy_timeout_s`: how long a write waits for another writer, in seconds (5).
    - `durability`: "normal", or "full" for commits that also survive a power loss.
    - `max_body_bytes`: the largest body, in bytes of JSON (4 MiB).
    - `max_attempts`: the attempts of a delivery before it is dead (5).
    - `retention`: limits for finished messages, a dict of `max_age_s`, `max_messages`, `max_bytes` (no limits) and
      `grace_s`, for which a finished message stays at least (60).
    - `identity_ttl_s`: after so many seconds without use an address is forgotten (never). Broadcasts pass over it, and
      its mail expires at that age. An address is in use while a client of it sends, receives or waits.
    - `broadcast_ttl_s`: a broadcast without `expires_in_s` expires after so many seconds (never).
    - `checkpoints=False`: writes never checkpoint the WAL; another client of the bus must.

    Every write is one transaction. When the call returns, it is committed and survives the death of any process. When
    the call raises, nothing was written. Writes raise DatabaseError; repeat the call if the error is `retryable`. All
    threads may share a client, and a forked child continues with a connection of its own.
    """

    def __init__(
        self,
        session_id: str,
        role: str,
        db_path: str | None = None,
        *,
        busy_timeout_s: float | None = None,
        durability: Durability | None = None,
        max_body_bytes: int | None = None,
        max_attempts: int | None = None,
        retention: Retention | Mapping[str, Any] | None = None,
        identity_ttl_s: float | None = None,
        broadcast_ttl_s: float | None = None,
        checkpoints: bool = True,
        register: bool = True,
        create: bool = True,
    ) -> None:
        address = make_address(session_id, role)
        settings = self._open(
            db_path,
            busy_timeout_s,
            durability,
            checkpoints=checkpoints,
            create=create,
            identity_ttl_s=check_ttl("identity_ttl_s", identity_ttl_s),
        )
        try:
            ttl_s = check_ttl("broadcast_ttl_s", broadcast_ttl_s)
            self._broadcast_ttl_s = settings.broadcast_ttl_s if ttl_s is None else ttl_s
            self._max_body_bytes = settings.max_body_bytes if max_body_bytes is None else max_body_bytes
            if not isinstance(self._max_body_bytes, int) or self._max_body_bytes < 1:
                raise ConfigError(f"max_body_bytes {abbreviate(max_body_bytes)} is not a number of bytes, 1 or more")
            check_max_attempts(max_attempts)
            self._max_attempts = settings.max_attempts if max_attempts is None else max_attempts
            limits = (
                settings.retention
                if retention is None
                else Retention.of(retention._asdict() if isinstance(retention, Retention) else retention)
            )
            self._retention = None if limits is None else self._make_retention(limits)
            self._join(address, register)
            if register:
                self._store.write(self._identity.heartbeat)
        except BaseException:
            self._store.close()  # the traceback would keep it open
            raise

    @classmethod
    def at(cls, address: str, db_path: str | None = None, **options: Any) -> Self:
        """Return a client of an address: `BusClient.at("architect:swarm-1")`; `options` as in `BusClient`."""
        parsed = parse_address(address)
        return cls(parsed.session, parsed.role, db_path, **options)

    def _join(self, address: Address, register: bool) -> None:
        self._identity = Identity(self._store, address, registers=register, ttl_s=self._identity_ttl_s)
        self._outbox = self._make_outbox(None if self._retention is None else self._retention.record_sends)
        self._consumers: WeakSet[AutoAckConsumer] = WeakSet()
        self._mailboxes: dict[str, Mailbox] = {}

    def _make_outbox(self, record_sends: Callable[[int], None] | None) -> Outbox:
        if self._identity_ttl_s is None and self._broadcast_ttl_s is None:
            return Outbox(self._store, self._identity, self._doorbells, record_sends)
        with LOADING:
            from raven.delivery.forgetting import LifetimeOutbox

        return LifetimeOutbox(
            self._store, self._identity, self._doorbells, record_sends, self._identity_ttl_s, self._broadcast_ttl_s
        )

    def _make_retention(self, limits: Retention) -> RetentionWorker:
        with LOADING:
            from raven.delivery.retention import RetentionWorker

        return RetentionWorker(self._store, limits, self._doorbells.is_awaited)

    @property
    def address(self) -> str:
        """This client's own address, `<role>:<session>`."""
        return self._identity.address

    def send(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Send one message. When this returns, the message is committed and waiting recipients are woken.

        `to` is an address, a broadcast pattern or a list of both. An address need not be registered. A pattern
        (`*:session`, `role:*` or `*:*`) reaches all addresses that are registered now, except the sender. `type` is a
        name of your choice that does not begin with `raven.`. `body` is any JSON value or an instance of a pydantic
        model. Options:

        - `urgency`: "blocking", "prompt" (default) or "fyi"; recipients get messages by urgency, then by id.
        - `tags`, `correlation_id`, `task_id`: stored with the message; `history` finds the two ids.
        - `reply_to`: the id of the message that this one replies to; see `reply` and `thread`.
        - `delay_s`, `expires_in_s`: seconds until the message is ready, and until unfinished deliveries expire.
        - `dedup_key`: a second send with the same key by this address stores nothing. It returns the first message,
          with `duplicate` set.
        - `max_attempts`: the attempts of each delivery before it is dead.
        - `report="undelivered"`: for each delivery that dies or expires, this address gets a message of type
          `raven.undelivered`.

        In the returned message, `waiting` maps each recipient to whether a subscriber was waiting there. Raises
        InputError (address, body, schema), UnknownAddressError if a pattern matches no registered address,
        DatabaseError.
        """
        return self._outbox.send(self._prepare(to, type, body, options))

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages in one transaction: all of them or none. Each is a dict of the parameters of `send`."""
        return self._outbox.send_many(
            build_many(self._identity.address, self._max_body_bytes, messages, self._max_attempts)
        )

    def _prepare(
        self, to: str | Sequence[str], type: str, body: Any, options: Any, reply_address: str | None = None
    ) -> NewMessage:
        return build(
            self._identity.address,
            self._max_body_bytes,
            to,
            type,
            body,
            options,
            reply_address=reply_address,
            default_attempts=self._max_attempts,
        )

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> Message:
        """Reply to a message, given as the message or its id; the reply to a request goes to its reply address.

        The reply has the id of the message in `reply_to`, and its correlation id and task id; `options` are the options
        of `send`. The reply to a request expires with the request. Raises ExpiredError if the sender of the request
        has stopped waiting, InputError if the request was not sent to this address, and the errors of `send`.
        """
        return self._outbox.send(self._prepare_reply(msg, type, body, options))

    def _prepare_reply(self, msg: Message | int, type: str, body: Any, options: Mapping[str, Any]) -> NewMessage:
        """Check a reply; `options` are the options of `reply`."""
        if not isinstance(msg, Message | int) or isinstance(msg, bool):
            raise InputError(
                f"{abbreviate(msg)} is neither a message nor an id: give a message that inbox or claim returned"
            )
        request = self.read(msg) if isinstance(msg, int) else msg
        inherited = {name: getattr(request, name) for name in INHERITED}
        merged = {**inherited, **options, "reply_to": request.id}
        if request.reply_address is None:
            return self._prepare(request.sender, type, body, merged)
        remaining_s = self._remaining_s(request.id)
        if remaining_s <= 0:
            raise ExpiredError(f"request #{request.id} has expired or was withdrawn: its sender no longer waits")
        wanted_s = merged.get("expires_in_s")
        message = self._prepare(request.reply_address, type, body, merged)
        # A reply never outlives its request, even with a longer `expires_in_s`.
        return message._replace(
            lifetime_us=clock.to_micros(remaining_s if wanted_s is None else min(remaining_s, wanted_s))
        )

    def _remaining_s(self, request_id: int) -> float:
        """Return for how many seconds the sender of a request still waits; 0 if it was withdrawn.

        Raises ExpiredError if the request is deleted, as an open one never is; InputError if this address has not
        received it: its sender ignores the reply.
        """
        self._store.verify()
        rows = self._store.rows("get_request", {"message_id": request_id, "recipient": self.address})
        if not rows:
            raise ExpiredError(
                f"request #{request_id} has expired, was withdrawn or answered, and then deleted: its sender no longer "
                "waits"
            )
        expires_at, was_asked = rows[0]
        left_s = 0.0 if expires_at is None else (expires_at - clock.now()) / 1e6
        if left_s > 0 and not was_asked:
            raise InputError(
                f"request #{request_id} was not sent to {self.address}: only its recipients can reply to it"
            )
        return left_s

    def request(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        timeout_s: float = 30.0,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Send a message, wait until a recipient calls `reply`, and return the reply, acked.

        The reply goes to a private reply address, so that no subscriber of this address can get it. The first reply of
        a recipient counts; other messages there are acked and ignored. `options` are the options of `send`. Raises
        WaitTimeoutError after `timeout_s` seconds. After a timeout, or any other exception, the request is withdrawn:
        no recipient can claim it any more.
        """
        return self._ask(to, type, body, timeout_s, options).send_and_wait()

    async def request_async(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        timeout_s: float = 30.0,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Do as `request` does, without blocking the event loop."""
        return await self._ask(to, type, body, timeout_s, options).send_and_wait_async()

    def _ask(self, to: str | Sequence[str], type: str, body: Any, timeout_s: float, options: Any) -> Request:
        with LOADING:
            from raven.receive.request import Request

        request = Request(
            self._handle, self._pending_request(to, type, body, timeout_s=timeout_s, **options), timeout_s
        )
        self._consumers.add(request.consumer)
        return request

    def _pending_request(
        self, to: str | Sequence[str], type: str, body: Any = None, *, timeout_s: float, **options: Any
    ) -> PendingRequest:
        """Check the arguments of `request`; return a request for an event loop of your own to send and await."""
        with LOADING:
            from raven.receive.request import PendingRequest, make_reply_address

        check_request(timeout_s, options)
        lasting = {**options, "expires_in_s": timeout_s}
        message = self._prepare(to, type, body, lasting, make_reply_address(self.address))
        return PendingRequest(self._handle, self._outbox.send, message, timeout_s)

    @property
    def _mailbox(self) -> Mailbox:
        """The mailbox of this address; created at its first use, so that a client that only sends imports less."""
        if not self._mailboxes:
            with LOADING:
                from raven.delivery.mailbox import Mailbox

            # Two threads must get the same mailbox: one may ack a message that the other has claimed.
            self._mailboxes.setdefault("mailbox", Mailbox(self._store, self._identity, self._doorbells))
        return self._mailboxes["mailbox"]

    def inbox(self, max: int = 100, peek: bool = False) -> list[Message]:
        """Return up to `max` unacked messages, by urgency, then id; each is returned again and again until acked.

        A message that is returned for the first time is marked `delivered`; with `peek` no message is marked. Delayed
        and expired messages are not returned.
        """
        check_max(max)
        return self._mailbox.inbox(max, peek)

    def read(self, id: int) -> Message:
        """Return one message, with the delivery to this address if it has one; raises MessageNotFoundError."""
        self._require(id)
        rows = self._store.rows("get_delivery", {"message_id": id, "recipient": self.address})
        return Message.from_row(rows[0], clock.now()) if rows else super().read(id)

    def claim(self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True) -> list[Message]:
        """Claim up to `max` ready messages under a lease of `lease_s` seconds, by urgency, then id: at least once.

        Call `ack`, `nack` or `extend` for each before its lease ends. Otherwise the message is ready again for any
        consumer of this address, or dead after its last attempt. `attempts` includes this claim. Never waits: the list
        is empty if no message is ready.

        The client remembers its leases, so that a late `ack` is refused. A program with several consumers passes
        `remember=False`, and gives each message's `lease` when it acks.
        """
        return self._claim(max, lease_s, None, remember)

    def _claim(self, max: int, lease_s: float, max_bytes: int | None, remember: bool) -> list[Message]:
        check_max(max)
        check_lease(lease_s)
        messages = self._mailbox.claim(max, lease_s, max_bytes)
        if remember and messages:
            self._mailbox.remember(messages)
        return messages

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Finish this address's delivery of a message; idempotent.

        Raises MessageNotFoundError if this address has no delivery of it. For a message that this client has claimed,
        or with a `lease`, raises LeaseLostError if another consumer holds the message now: undo your work on it then.
        """
        self._mailbox.ack(id, lease)

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> State:
        """Release a message: it is ready again for any consumer of this address, at once or after `delay_s` seconds.

        `reason` is stored with the delivery. Returns its state: `dead` if that was its last attempt. Raises
        LeaseLostError as `ack` does, DeliveryError if it is finished, MessageNotFoundError.
        """
        delay_us = check_span("delay_s", delay_s, least=0) or 0
        check_optional_text("reason", reason)
        return self._mailbox.nack(id, lease, delay_us, reason)

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from now; raises LeaseLostError if it has ended."""
        check_lease(lease_s)
        self._mailbox.extend(id, lease, lease_s)

    def subscribe(
        self,
        *,
        ack: Literal["auto", "manual"] = "auto",
        lease_s: float = 30.0,
        poll_interval_s: float = 1.0,
        max_per_poll: int = 50,
        timeout_s: float | None = None,
    ) -> AsyncMessageIterator:
        """Yield each message of this address as it arrives, to `async for`.

        With `ack="auto"` a message comes at most once: it is acked just before it is yielded, and a crash loses at most
        that one. The loop prefetches up to `max_per_poll` messages while it keeps up.

        With `ack="manual"` a message comes at least once: it stays leased to this loop until you `ack` or `nack` it,
        and the lease is renewed while this process runs. At most `max_per_poll` messages are unacked at a time. If the
        process dies, they are ready again after at most `lease_s` seconds. Two subscribers of this address never have
        the same message at the same time.

        Each send wakes the loop, which also polls every `poll_interval_s` seconds. The loop ends after `timeout_s`
        seconds (None: no limit) or at `close`. At its end, also by break, exception or cancellation, it releases
        unyielded messages and, with manual acks, unacked ones.
        """
        with LOADING:
            from raven.receive.auto_ack import AsyncMessageIterator

        return AsyncMessageIterator(self._consumer(ack, lease_s, poll_interval_s, max_per_poll), self._store, timeout_s)

    def listen(
        self,
        *,
        ack: Literal["auto", "manual"] = "auto",
        lease_s: float = 30.0,
        poll_interval_s: float = 1.0,
        max_per_poll: int = 50,
        timeout_s: float | None = None,
    ) -> Iterator[Message]:
        """Do as `subscribe` does, for an ordinary `for` loop, which blocks this thread between messages."""
        with LOADING:
            from raven.receive.auto_ack import iterate

        return iterate(self._consumer(ack, lease_s, poll_interval_s, max_per_poll), timeout_s)

    def transaction(self) -> BusTransaction:
        """Commit all calls on the transaction inside the block in one transaction.

        >>> with bus.transaction() as tx:
        ...     tx.ack(msg.id)
        ...     tx.send(msg.sender, "done")
        ...     tx.execute("INSERT INTO results VALUES (?, ?)", (msg.id, "fine"))

        All or nothing: an exception that leaves the block, or the death of the process, rolls back everything. An
        exception that is caught inside the block rolls back only the write that raised it. Recipients are woken after
        the commit. Until then no other process can write, but reads of other threads continue. Writes of this thread
        through the client itself are also part of the transaction, with a DeprecationWarning.
        """
        with LOADING:
            from raven.transaction import BusTransaction

        return BusTransaction(self, self._store)

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of your own SQL on your own tables in the bus file, and return its rows.

        It is a transaction of its own, which takes the write lock even for a SELECT. `tx.execute` inside
        `transaction()` is part of that commit: an ack and its result are stored together. A signal handler that raises,
        as that of Ctrl-C does, ends the statement and rolls back its transaction. Raises StatementError if SQLite
        refuses the statement, or if it begins or ends a transaction or writes tables of raven.
        """
        return self._store.execute(sql, params)

    def register(self, *addresses: str) -> None:
        """Register addresses, so that broadcasts reach them before they first use the bus."""
        parsed = [parse_address(address) for address in addresses]

        def step(tx: Transaction) -> None:
            for address in parsed:
                register(tx, address)

        self._store.write(step)

    def close(self) -> None:
        """Close the connection; loops of `listen` and `subscribe` in other threads and tasks end. Idempotent."""
        self._release_loops()
        super().close()
        self._doorbells.ring_each(self.address)

    def _release_loops(self) -> None:
        for consumer in members(self._consumers):
            consumer.release()

    def _consumer(self, ack: str, lease_s: float, poll_interval_s: float, max_per_poll: int) -> AutoAckConsumer:
        with LOADING:
            from raven.receive.auto_ack import AutoAckConsumer
            from raven.wake.waiter import Waiter

        if ack not in ("auto", "manual"):
            raise InputError(f"ack {abbreviate(ack)} is not known: use 'auto' or 'manual'")
        check_lease(lease_s)
        waiter = Waiter(self._handle, self.address, poll_interval_s, competes=True)
        if ack == "auto":
            consumer = AutoAckConsumer(self._mailbox, waiter, max_per_poll)
        else:
            with LOADING:
                from raven.receive.manual_ack import ManualAckConsumer

            consumer = ManualAckConsumer(self._handle, self.address, self._mailbox, waiter, max_per_poll, lease_s)
        self._consumers.add(consumer)
        return consumer


def members(weak: WeakSet[_T]) -> list[_T]:
    """Return the members of a weak set, which another thread may change meanwhile."""
    while True:
        with suppress(RuntimeError):
            return list(weak)
