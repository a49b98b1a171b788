"""BusClient: one address on the bus, and the promises made to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from raven import clock
from raven.address import Address, make_address, parse_address
from raven.config import Durability
from raven.doorbell import OBSERVERS
from raven.draft import Draft, make_draft, make_drafts
from raven.errors import ConfigError
from raven.group import Group
from raven.identity import Identity, register
from raven.listener import Listener
from raven.mailbox import Mailbox, check_id
from raven.message import AckMode, Message, MessageRow, Urgency, check_max
from raven.observer import BusObserver

if TYPE_CHECKING:
    from raven.feed import AsyncMessages, Feed
    from raven.subscription import Subscription


class BusClient(BusObserver):
    """One identity, `<role>:<session>`, that sends and receives.

    >>> a = BusClient(session_id="swarm-1", role="conductor", db_path="bus.db")
    >>> b = BusClient(session_id="swarm-1", role="architect", db_path="bus.db")
    >>> sent = a.send(to=b.address, type="plan", body={"step": 1})
    >>> for msg in b.inbox():
    ...     b.ack(msg.id)

    Making one makes the file where there is none (mode 0600) and registers the address, so that broadcasts reach it;
    `create=False` and `register=False` leave that to others. Without `db_path` the bus, and each setting not given here
    (5 s, "normal", 4 MiB otherwise), is found as the command line finds it. With `checkpoints=False` no write takes the
    time to write the WAL back: call `checkpoint` now and then. Any thread may use a client, and a forked child goes on
    with a connection of its own.

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
        checkpoints: bool = True,
        register: bool = True,
        create: bool = True,
    ) -> None:
        address = make_address(session_id, role)
        settings = self._open(db_path, busy_timeout_s, durability, checkpoints=checkpoints, create=create)
        self._max_body_bytes = settings.max_body_bytes if max_body_bytes is None else max_body_bytes
        if not isinstance(self._max_body_bytes, int) or self._max_body_bytes < 1:
            raise ConfigError(f"max_body_bytes {max_body_bytes!r} is not a number of bytes, 1 or more")
        self._owns_store = True
        self._take_part(address, register)
        if register:
            with self._store.write() as tx:
                self._identity.touch(tx)

    @classmethod
    def at(cls, address: str, db_path: str | None = None, **options: Any) -> Self:
        """Make a client from its whole address: `BusClient.at("architect:swarm-1")`."""
        parsed = parse_address(address)
        return cls(parsed.session, parsed.role, db_path, **options)

    def share(self, address: str, *, register: bool = True) -> Self:
        """Return a client of another address over this one's connection, for a program that speaks for many.

        It registers with its first write, and ends with this one; its own `close` ends only its loops.
        """
        shared = copy(self)
        shared._owns_store = False
        self._shared.add(shared)
        shared._take_part(parse_address(address), register)
        return shared

    def _take_part(self, address: Address, register: bool) -> None:
        self._identity = Identity(self._store, address, registers=register)
        self._mailbox = Mailbox(self._store, self._identity)
        self._feeds: WeakSet[Feed] = WeakSet()
        self._shared: WeakSet[BusClient] = WeakSet()

    @property
    def address(self) -> str:
        """This client's own address, `<role>:<session>`."""
        return self._identity.address

    @property
    def durability(self) -> Durability:
        """What a commit survives: "normal" the death of any process, "full" power loss, too."""
        return self._store.durability

    def send(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        urgency: Urgency = "prompt",
        tags: Sequence[str] = (),
        correlation_id: str | int | None = None,
        reply_to: int | None = None,
        task_id: str | int | None = None,
        expires_in_s: float | None = None,
        delay_s: float | None = None,
        dedup_key: str | None = None,
    ) -> Message:
        """Send one message; when this returns it is committed, and whoever waits for it was woken.

        `to` is an address, a broadcast pattern (`*:session`, `role:*`, `*:*`: all that are registered now, but never
        the sender) or a list of them; an address gets it whether or not it was ever used. `body` is any JSON value,
        or an instance of a pydantic model. With `dedup_key`, a second send of the same key by this address stores
        nothing and returns the first message. Raises InputError (address, body, schema), UnknownAddressError for a
        pattern that nobody matches, DatabaseError.
        """
        draft = make_draft(
            self._identity.address,
            self._max_body_bytes,
            to=to,
            type=type,
            body=body,
            urgency=urgency,
            tags=tags,
            correlation_id=correlation_id,
            reply_to=reply_to,
            task_id=task_id,
            expires_in_s=expires_in_s,
            delay_s=delay_s,
            dedup_key=dedup_key,
        )
        # As `post` does with many: this is the hottest path of all.
        with self._store.write() as tx:
            self._identity.touch(tx)
            row, recipients = draft.store(tx)
        self._ring(recipients)
        return row.to_message(clock.now())

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages, dicts of `send`'s parameters, in one transaction: all of them or none."""
        return self.post(make_drafts(self._identity.address, self._max_body_bytes, messages))

    def draft(self, to: str | Sequence[str], type: str, body: Any = None, **options: Any) -> Draft:
        """Check a message, given as to `send`, without touching the bus; `post` then sends it. Raises InputError.

        For programs that check in one thread and write in another.
        """
        return make_draft(self._identity.address, self._max_body_bytes, to=to, type=type, body=body, **options)

    def post(self, drafts: Sequence[Draft]) -> list[Message]:
        """Send what `draft` has checked, in one transaction: all of them or none."""
        with self._store.write() as tx:
            self._identity.touch(tx)
            stored = [draft.store(tx) for draft in drafts]
        self._ring(dict.fromkeys(address for _, recipients in stored for address in recipients))
        now = clock.now()
        return [row.to_message(now) for row, _ in stored]

    def inbox(self, max: int = 100, peek: bool = False, *, max_bytes: int | None = None) -> list[Message]:
        """Return what is not acked, by urgency, then id, again and again until acked.

        What is seen for the first time is marked `delivered`; with `peek` nothing is marked. Messages whose delay is
        not over or whose time has run out are not shown. With `max_bytes` it stops after the message with which they
        come to so much.
        """
        check_max(max)
        return self._mailbox.inbox(max, peek, max_bytes)

    def read(self, id: int) -> Message:
        """Return one message, as this address sees it if it is a recipient; changes nothing. MessageNotFoundError."""
        check_id(id)
        rows = self._store.rows("message_to", {"message_id": id, "recipient": self.address})
        return MessageRow(*rows[0]).to_message(clock.now()) if rows else super().read(id)

    def ack(self, id: int) -> None:
        """Finish this address's delivery of a message; idempotent. MessageNotFoundError where it has none."""
        self._mailbox.ack(id)

    def subscribe(
        self, *, poll_interval_s: float = 1.0, max_per_poll: int = 50, timeout_s: float | None = None
    ) -> AsyncMessages:
        """Yield messages as they come, at most once each, to `async for`.

        Each is acked just before it is yielded: a crash loses at most the one in hand. Other subscribers of this
        address never get the same one. Waking is pushed; every `poll_interval_s` (seconds) it also looks by itself.
        Leaving the loop, by break, exception or cancellation, gives back what was fetched and not yielded.
        """
        from raven.feed import AsyncMessages

        return AsyncMessages(self._feed(poll_interval_s, max_per_poll), self._store, timeout_s)

    def listen(
        self, *, poll_interval_s: float = 1.0, max_per_poll: int = 50, timeout_s: float | None = None
    ) -> Iterator[Message]:
        """Do as `subscribe` does, for an ordinary `for` loop; `timeout_s` ends the loop after that many seconds."""
        from raven import feed

        return feed.listen(self._feed(poll_interval_s, max_per_poll), timeout_s)

    def subscription(self, *, ack: AckMode = "auto", lease_s: float = 30.0) -> Subscription:
        """Return a subscription for an event loop of your own: wait as its `listener` says, then fetch."""
        from raven import subscription

        subscription.check(ack, lease_s)
        listener = Listener(self._doorbells, self._watch, self.address)
        return subscription.Subscription(self._mailbox, listener, ack, lease_s)

    def transaction(self) -> Group[Self]:
        """Make one commit of all that this thread writes over this connection inside the block, shared clients' too.

        >>> with bus.transaction():
        ...     bus.ack(msg.id)
        ...     bus.send(msg.sender, "done")

        All or nothing: an exception that leaves the block undoes everything, one that is caught inside undoes only the
        write that raised it. Doorbells are rung after the commit. Until then, no other process can write.
        """
        return Group(self._store, self)

    def impatient(self) -> AbstractContextManager[None]:
        """Let writes of this thread inside the block raise BusyError at once instead of waiting for another writer."""
        return self._store.impatient()

    def wal_size(self) -> int:
        """Return the size of the WAL in bytes: what a checkpoint has to write back."""
        return self._store.wal_size()

    def checkpoint(self) -> None:
        """Write the WAL back into the file; SQLite does so by itself now and then, unless `checkpoints` is off."""
        self._store.checkpoint()

    def register(self, *addresses: str) -> None:
        """Register addresses in advance, so that broadcasts reach them before they first use the bus."""
        parsed = [parse_address(address) for address in addresses]
        with self._store.write() as tx:
            for address in parsed:
                register(tx, address)

    def close(self) -> None:
        """Close the connection; loops of `listen` and `subscribe` in other threads and tasks end."""
        for shared in list(self._shared):
            shared.close()
        for feed in list(self._feeds):
            feed.release()
        if self._owns_store:
            super().close()
        self._doorbells.ring([self.address])

    def _feed(self, poll_interval_s: float, max_per_poll: int) -> Feed:
        from raven.feed import Feed
        from raven.waiter import Waiter

        waiter = Waiter(self._store, self._doorbells, self._watch, self.address, poll_interval_s)
        feed = Feed(self._mailbox, waiter, max_per_poll)
        self._feeds.add(feed)
        return feed

    def _ring(self, recipients: Iterable[str]) -> None:
        """Wake the recipients and the observers; only after the commit, or they would look too early."""
        self._store.after_commit(self._doorbells.ring, [*recipients, OBSERVERS])
