"""BusClient: one address on the bus, and the promises made to it.

Long because all that an address can do stands in one place, and most of the lines are what each call promises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack
from weakref import WeakSet

from raven.config import Durability, Retention
from raven.delivery.identity import Identity, register
from raven.delivery.outbox import Outbox
from raven.errors import ConfigError, ExpiredError, InputError, MessageNotFoundError
from raven.model import clock
from raven.model.address import Address, make_address, parse_address
from raven.model.limits import check_id, check_lease, check_max, check_max_attempts, check_span
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

if TYPE_CHECKING:
    from raven.delivery.mailbox import Mailbox
    from raven.delivery.retention import RetentionWorker
    from raven.receive.auto_ack import AsyncMessageIterator, AutoAckConsumer
    from raven.receive.request import PendingRequest, Request
    from raven.transaction import BusTransaction

_T = TypeVar("_T")


class BusClient(BusObserver):
    """One identity, `<role>:<session>`, that sends and receives.

    >>> a = BusClient(session_id="swarm-1", role="conductor", db_path="bus.db")
    >>> b = BusClient(session_id="swarm-1", role="architect", db_path="bus.db")
    >>> sent = a.send(to=b.address, type="plan", body={"step": 1})
    >>> for msg in b.inbox():
    ...     b.ack(msg.id)

    Making one makes the file where there is none (mode 0600) and registers the address, so that broadcasts reach it;
    `create=False` and `register=False` leave that to others. Without `db_path` the bus, and each setting not given here
    (5 s, "normal", 4 MiB, 5 attempts, no retention otherwise), is found as the command line finds it. With
    `checkpoints=False` no write takes the time to write the WAL back: raven.host does so. Any thread may use a client,
    and a forked child goes on with a connection of its own.

    Every write is one transaction: when the call returns it is committed and survives the death of any process; when
    it raises, nothing was written. Writes raise DatabaseError; one that is `retryable` may be tried again.
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
        checkpoints: bool = True,
        register: bool = True,
        create: bool = True,
    ) -> None:
        address = make_address(session_id, role)
        settings = self._open(db_path, busy_timeout_s, durability, checkpoints=checkpoints, create=create)
        try:
            self._max_body_bytes = settings.max_body_bytes if max_body_bytes is None else max_body_bytes
            if not isinstance(self._max_body_bytes, int) or self._max_body_bytes < 1:
                raise ConfigError(f"max_body_bytes {max_body_bytes!r} is not a number of bytes, 1 or more")
            check_max_attempts(max_attempts)
            self._max_attempts = settings.max_attempts if max_attempts is None else max_attempts
            limits = (
                settings.retention
                if retention is None
                else Retention.of(retention._asdict() if isinstance(retention, Retention) else retention)
            )
            self._retention = None if limits is None else self._make_retention(limits)
            self._take_part(address, register)
            if register:
                with self._store.write() as tx:
                    self._identity.heartbeat(tx)
        except BaseException:
            self._store.close()  # or it would be open for as long as somebody keeps the error
            raise

    @classmethod
    def at(cls, address: str, db_path: str | None = None, **options: Any) -> Self:
        """Make a client from its whole address: `BusClient.at("architect:swarm-1")`."""
        parsed = parse_address(address)
        return cls(parsed.session, parsed.role, db_path, **options)

    def _take_part(self, address: Address, register: bool) -> None:
        self._identity = Identity(self._store, address, registers=register)
        record_sends = None if self._retention is None else self._retention.record_sends
        self._outbox = Outbox(self._store, self._identity, self._doorbells, record_sends)
        self._consumers: WeakSet[AutoAckConsumer] = WeakSet()
        self._made: dict[str, Mailbox] = {}

    def _make_retention(self, limits: Retention) -> RetentionWorker:
        from raven.delivery.retention import RetentionWorker

        return RetentionWorker(self._store, limits)

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
        """Send one message; when this returns it is committed, and whoever waits for it was woken.

        `to` is an address, a broadcast pattern (`*:session`, `role:*`, `*:*`: all that are registered now, but never
        the sender) or a list of them; an address gets it whether or not it was ever used. `body` is any JSON value,
        or an instance of a pydantic model. The message that is returned tells in `waiting` who was waiting for it.

        With `dedup_key`, a second send of the same key by this address stores nothing and returns the first message,
        with `duplicate` set. After `max_attempts` (5 unless set otherwise) a recipient's delivery is dead. With
        `report="undelivered"` this address gets a message of type `raven.undelivered` for each delivery that dies or
        expires. Raises InputError (address, body, schema), UnknownAddressError for a pattern that nobody matches,
        DatabaseError.
        """
        return self._outbox.send(self._prepare(to, type, body, options))

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages, dicts of `send`'s parameters, in one transaction: all of them or none."""
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
        """Answer a message, given itself or by its id: to where its sender waits for the answer, else to the sender.

        The answer carries the message's id in `reply_to`, and its correlation and task ids; `options` are those of
        `send`. The answer to a request expires with the request: ExpiredError where nobody waits for it any more.
        """
        return self._outbox.send(self._prepare_reply(msg, type, body, options))

    def _prepare_reply(self, msg: Message | int, type: str, body: Any, options: Mapping[str, Any]) -> NewMessage:
        """Check an answer; `options` are those of `reply`."""
        if not isinstance(msg, Message | int) or isinstance(msg, bool):
            raise InputError(f"{msg!r} is neither a message nor the id of one: give what inbox or claim returned")
        asked = self.read(msg) if isinstance(msg, int) else msg
        inherited = {name: getattr(asked, name) for name in INHERITED}
        given = {**inherited, **options, "reply_to": asked.id}
        if asked.reply_address is None:
            return self._prepare(asked.sender, type, body, given)
        remaining_s = self._remaining_s(asked.id)
        if remaining_s <= 0:
            raise ExpiredError(f"message #{asked.id} asked for an answer in time: nobody waits for it any more")
        wanted_s = given.get("expires_in_s")
        message = self._prepare(asked.reply_address, type, body, given)
        # However long the answer was to live: it does not outlive the question.
        return message._replace(
            lifetime_us=clock.to_micros(remaining_s if wanted_s is None else min(remaining_s, wanted_s))
        )

    def _remaining_s(self, request_id: int) -> float:
        """Return for how many seconds somebody waits for the answer to a request, which may have been given up."""
        try:
            expires_at = BusObserver.read(self, request_id).expires_at
        except MessageNotFoundError:
            return 0
        return 0 if expires_at is None else expires_at.timestamp() - clock.now() / 1e6

    def request(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        timeout_s: float = 30.0,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Send a message, wait for the answer that `reply` gives to it, and return that, acked.

        The answer goes to a private address, so that no subscriber of this one can take it; of several answers the
        first counts. `options` are those of `send`. Raises WaitTimeoutError after `timeout_s` seconds; then, or when
        the wait is left by another exception, nobody begins with the request any more, and nothing is left behind.
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
        from raven.receive.request import Request

        request = Request(
            self._handle, self._pending_request(to, type, body, timeout_s=timeout_s, **options), timeout_s
        )
        self._consumers.add(request.consumer)
        return request

    def _pending_request(
        self, to: str | Sequence[str], type: str, body: Any = None, *, timeout_s: float, **options: Any
    ) -> PendingRequest:
        """Check a request, given as to `request`, for an event loop of your own that posts it and awaits the answer."""
        from raven.receive.request import PendingRequest, make_reply_address

        check_request(timeout_s, options)
        lasting = {**options, "expires_in_s": timeout_s}
        message = self._prepare(to, type, body, lasting, make_reply_address(self.address))
        return PendingRequest(self._handle, self._outbox.send, message, timeout_s)

    @property
    def _mailbox(self) -> Mailbox:
        """What waits for this address; made when it is first used, so that a mere sender loads less."""
        if not self._made:
            from raven.delivery.mailbox import Mailbox

            # Of two threads that come here at once, one has it: what either claims, the other may ack.
            self._made.setdefault("mailbox", Mailbox(self._store, self._identity, self._doorbells.ring))
        return self._made["mailbox"]

    def inbox(self, max: int = 100, peek: bool = False) -> list[Message]:
        """Return what is not acked, by urgency, then id, again and again until acked.

        What is seen for the first time is marked `delivered`; with `peek` nothing is marked. Messages whose delay is
        not over or whose time has run out are not shown.
        """
        check_max(max)
        return self._mailbox.inbox(max, peek)

    def read(self, id: int) -> Message:
        """Return one message, as this address sees it if it is a recipient; changes nothing. MessageNotFoundError."""
        check_id(id)
        self._store.verify()
        rows = self._store.rows("get_delivery", {"message_id": id, "recipient": self.address})
        return Message.from_row(rows[0], clock.now()) if rows else super().read(id)

    def claim(self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True) -> list[Message]:
        """Take up to `max` ready messages under a lease of `lease_s` seconds; by urgency, then id; at least once.

        `ack` each, or `nack` it, or `extend` its lease, before that ends: else it is ready again, for whoever comes
        first, and dead after its last attempt. `attempts` counts this one. Never waits; none where nothing is ready.

        The client remembers its leases, so that a late `ack` is refused; a program that speaks for several consumers
        passes `remember=False`, and each message's `lease` when it acks.
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
        """Finish this address's delivery of a message; idempotent. MessageNotFoundError where it has none.

        What this client has claimed, or another has whose `lease` is given, it acks only while no other has the
        message: else LeaseLostError, and what was done for it should be undone.
        """
        self._mailbox.ack(id, lease)

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> State:
        """Give a message back, ready for anyone at once or after `delay_s` seconds, saying why.

        Returns its state: `dead` if that was its last attempt. Raises LeaseLostError as `ack` does, DeliveryError for
        what is finished, MessageNotFoundError.
        """
        delay_us = check_span("delay_s", delay_s, least=0) or 0
        check_optional_text("reason", reason)
        return self._mailbox.nack(id, lease, delay_us, reason)

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from now. LeaseLostError where it is not leased any more."""
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
        """Yield messages as they come to `async for`.

        With `ack="auto"` at most once each: it is acked just before it is yielded, and a crash loses at most the one in
        hand. With `"manual"` at least once: it is leased to this loop, and the lease renewed while this process lives,
        until you `ack` or `nack` it; at most `max_per_poll` at a time. When the process dies, it is ready again after
        at most `lease_s` seconds. Other subscribers of this address never have the same one at the same time.

        Waking is pushed; every `poll_interval_s` (seconds) it also looks by itself. Leaving the loop, by break,
        exception or cancellation, gives back what was not yielded, or not acked; `timeout_s` ends it.
        """
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
        """Do as `subscribe` does, for an ordinary `for` loop; `timeout_s` ends the loop after that many seconds."""
        from raven.receive.auto_ack import iterate

        return iterate(self._consumer(ack, lease_s, poll_interval_s, max_per_poll), timeout_s)

    def transaction(self) -> BusTransaction:
        """Make one commit of all calls on the transaction inside the block.

        >>> with bus.transaction() as tx:
        ...     tx.ack(msg.id)
        ...     tx.send(msg.sender, "done")
        ...     tx.execute("INSERT INTO results VALUES (?, ?)", (msg.id, "fine"))

        All or nothing: an exception that leaves the block, or the death of the process, undoes everything; one that is
        caught inside undoes only the write that raised it. Doorbells are rung after the commit. Until then, no other
        process can write; reads of other threads go on. What this thread writes through the client itself is part of it
        too, with a DeprecationWarning.
        """
        from raven.transaction import BusTransaction

        return BusTransaction(self, self._store)

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run SQL of your own on tables of your own in the bus file, and return its rows; a write is one transaction.

        Even a SELECT takes the write lock. Inside `transaction()` it is part of that: what was received and what was
        made of it are committed together. Raises StatementError for what SQLite refuses, and for what would begin or
        end transactions or change raven's own tables, which are read-only here.
        """
        return self._store.execute(sql, params)

    def register(self, *addresses: str) -> None:
        """Register addresses in advance, so that broadcasts reach them before they first use the bus."""
        parsed = [parse_address(address) for address in addresses]
        with self._store.write() as tx:
            for address in parsed:
                register(tx, address)

    def close(self) -> None:
        """Close the connection; loops of `listen` and `subscribe` in other threads and tasks end."""
        self._release_loops()
        super().close()
        self._doorbells.ring([self.address])

    def _release_loops(self) -> None:
        for consumer in members(self._consumers):
            consumer.release()

    def _consumer(self, ack: str, lease_s: float, poll_interval_s: float, max_per_poll: int) -> AutoAckConsumer:
        from raven.receive.auto_ack import AutoAckConsumer
        from raven.wake.waiter import Waiter

        if ack not in ("auto", "manual"):
            raise InputError(f"ack {ack!r} is not known: use 'auto' or 'manual'")
        check_lease(lease_s)
        waiter = Waiter(self._handle, self.address, poll_interval_s)
        if ack == "auto":
            consumer = AutoAckConsumer(self._mailbox, waiter, max_per_poll)
        else:
            from raven.receive.manual_ack import ManualAckConsumer

            consumer = ManualAckConsumer(self._handle, self.address, self._mailbox, waiter, max_per_poll, lease_s)
        self._consumers.add(consumer)
        return consumer


def members(weak: WeakSet[_T]) -> list[_T]:
    """Return what a weak set holds; another thread may add to it meanwhile."""
    while True:
        with suppress(RuntimeError):
            return list(weak)
