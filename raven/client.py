"""BusClient: one address on the bus, and the promises made to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, Self
from weakref import WeakSet

from raven.config import Durability
from raven.consumer import BusConsumer
from raven.delivery import expiry as settlement
from raven.delivery.identity import register
from raven.delivery.mailbox import Mailbox
from raven.errors import BusyError, InputError
from raven.model.address import Address, parse_address
from raven.model.leases import Holdings, check_lease
from raven.model.message import AckMode, Message
from raven.sender import members

if TYPE_CHECKING:
    from raven.receive.auto_ack import AsyncMessages, Feed
    from raven.receive.subscription import Subscription
    from raven.store.atomic import Group


class BusClient(BusConsumer):
    """One identity, `<role>:<session>`, that sends and receives.

    >>> a = BusClient(session_id="swarm-1", role="conductor", db_path="bus.db")
    >>> b = BusClient(session_id="swarm-1", role="architect", db_path="bus.db")
    >>> sent = a.send(to=b.address, type="plan", body={"step": 1})
    >>> for msg in b.inbox():
    ...     b.ack(msg.id)

    Making one makes the file where there is none (mode 0600) and registers the address, so that broadcasts reach it;
    `create=False` and `register=False` leave that to others. Without `db_path` the bus, and each setting not given here
    (5 s, "normal", 4 MiB, 5 attempts, no retention otherwise), is found as the command line finds it. With
    `checkpoints=False` no write takes the time to write the WAL back: call `checkpoint` now and then. Any thread may
    use a client, and a forked child goes on with a connection of its own.

    Every write is one transaction: when the call returns it is committed and survives the death of any process; when
    it raises, nothing was written. Writes raise DatabaseError; one that is `retryable` may be tried again.
    """

    def share(self, address: str, *, register: bool = True) -> Self:
        """Return a client of another address over this one's connection, for a program that speaks for many.

        It registers with its first write, and ends with this one; its own `close` ends only its loops.
        """
        shared = copy(self)
        shared._owns_store = False
        shared._take_part(parse_address(address), register)
        self._shared.add(shared)
        return shared

    def _take_part(self, address: Address, register: bool) -> None:
        super()._take_part(address, register)
        self._mailbox = Mailbox(self._store, self._identity, self._doorbells.ring)
        self._holdings = Holdings()
        self._shared: WeakSet[BusClient] = WeakSet()

    @property
    def durability(self) -> Durability:
        """What a commit survives: "normal" the death of any process, "full" power loss, too."""
        return self._store.durability

    def subscribe(
        self,
        *,
        ack: Literal["auto", "manual"] = "auto",
        lease_s: float = 30.0,
        poll_interval_s: float = 1.0,
        max_per_poll: int = 50,
        timeout_s: float | None = None,
    ) -> AsyncMessages:
        """Yield messages as they come to `async for`.

        With `ack="auto"` at most once each: it is acked just before it is yielded, and a crash loses at most the one in
        hand. With `"manual"` at least once: it is leased to this loop, and the lease renewed while this process lives,
        until you `ack` or `nack` it; at most `max_per_poll` at a time. When the process dies, it is ready again after
        at most `lease_s` seconds. Other subscribers of this address never have the same one at the same time.

        Waking is pushed; every `poll_interval_s` (seconds) it also looks by itself. Leaving the loop, by break,
        exception or cancellation, gives back what was not yielded, or not acked; `timeout_s` ends it.
        """
        from raven.receive.auto_ack import AsyncMessages

        return AsyncMessages(self._feed(ack, lease_s, poll_interval_s, max_per_poll), self._store, timeout_s)

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
        from raven.receive import auto_ack as feed

        return feed.listen(self._feed(ack, lease_s, poll_interval_s, max_per_poll), timeout_s)

    def subscription(self, *, ack: AckMode = "auto", lease_s: float = 30.0) -> Subscription:
        """Return a subscription for an event loop of your own: wait as its `listener` says, then fetch."""
        from raven.receive import subscription
        from raven.wake.listener import Listener

        subscription.check(ack, lease_s)
        listener = Listener(self._doorbells, self._watch, self.address)
        return subscription.Subscription(self._mailbox, listener, ack, lease_s)

    def transaction(self) -> Group[Self]:
        """Make one commit of all that this thread writes over this connection inside the block, shared clients' too.

        >>> with bus.transaction() as tx:
        ...     tx.ack(msg.id)
        ...     tx.send(msg.sender, "done")
        ...     tx.execute("INSERT INTO results VALUES (?, ?)", (msg.id, "fine"))

        All or nothing: an exception that leaves the block, or the death of the process, undoes everything; one that is
        caught inside undoes only the write that raised it. Doorbells are rung after the commit. Until then, no other
        process can write.
        """
        from raven.store.atomic import Group

        return Group(self._store, self)

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run SQL of your own on tables of your own in the bus file, and return its rows; a write is one transaction.

        Even a SELECT takes the write lock. Inside `transaction()` it is part of that: what was received and what was
        made of it are committed together. Raises StatementError for what SQLite refuses, and for what would begin or
        end transactions or change raven's own tables, which are read-only here.
        """
        return self._store.execute(sql, params)

    def impatient(self) -> AbstractContextManager[None]:
        """Let writes of this thread inside the block raise BusyError at once instead of waiting for another writer."""
        return self._store.impatient()

    def upkeep(self, at_most_s: float = 0.05) -> None:
        """Settle what time has brought, and drop what is beyond the limits of retention, for about so many seconds.

        While anybody waits or sends nobody needs to call this; a program that serves many calls it now and then.
        """
        with suppress(BusyError), self._store.impatient():
            settlement.settle(self._store, self._doorbells.ring)
        if self._keeper is not None:
            self._keeper.run(at_most_s)

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
        for shared in members(self._shared):
            shared.close()
        super().close()

    def _feed(self, ack: str, lease_s: float, poll_interval_s: float, max_per_poll: int) -> Feed:
        from raven.receive.auto_ack import Feed
        from raven.wake.waiter import Waiter

        if ack not in ("auto", "manual"):
            raise InputError(f"ack {ack!r} is not known: use 'auto' or 'manual'")
        check_lease(lease_s)
        waiter = Waiter(self._store, self._doorbells, self._watch, self.address, poll_interval_s)
        if ack == "auto":
            feed = Feed(self._mailbox, waiter, max_per_poll)
        else:
            from raven.receive.manual_ack import LeasedFeed

            feed = LeasedFeed(
                self._store,
                self.address,
                self._mailbox,
                waiter,
                max_per_poll,
                lease_s,
                self._holdings,
                self._doorbells.ring,
            )
        self._feeds.add(feed)
        return feed
