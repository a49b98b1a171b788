"""HostedBus: one address on the bus, in a program with an event loop of its own that speaks for many addresses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from copy import copy
from typing import Any, Self
from weakref import WeakSet

from raven.client import BusClient, members
from raven.config import Durability
from raven.delivery import expiry
from raven.errors import BusyError
from raven.model.address import Address, parse_address
from raven.model.limits import check_max
from raven.model.message import AckMode, Message
from raven.model.new_message import NewMessage
from raven.observer import BusObserver
from raven.query.log import LogCursor
from raven.receive.request import PendingRequest
from raven.receive.subscription import PullSubscription, check
from raven.store.atomic import Atomic
from raven.wake.doorbell import ALL_TRAFFIC, receipt_address
from raven.wake.listener import Listener


class HostedBus(BusClient):
    """A BusClient that lends its connection to other addresses, and leaves waiting and upkeep to the program.

    What it gives never blocks: the program waits as a `listener` says, and checks in one thread what it writes in
    another. With `checkpoints=False` no write takes the time to write the WAL back: call `checkpoint` now and then.
    """

    _is_shared = False

    def _take_part(self, address: Address, register: bool) -> None:
        super()._take_part(address, register)
        self._shared: WeakSet[HostedBus] = WeakSet()

    def for_address(self, address: str, *, register: bool = True) -> Self:
        """Return a client of another address over this one's connection.

        It registers with its first write, and ends with this one; its own `close` ends only its loops.
        """
        shared = copy(self)
        shared._is_shared = True
        shared._take_part(parse_address(address), register)
        self._shared.add(shared)
        return shared

    def close(self) -> None:
        """Close the connection, or end only the loops of a client that was shared."""
        for shared in members(self._shared):
            shared.close()
        if self._is_shared:
            self._release_loops()
            self._doorbells.ring([self.address])
        else:
            super().close()

    @property
    def durability(self) -> Durability:
        """What a commit survives: "normal" the death of any process, "full" power loss, too."""
        return self._store.durability

    def prepare(self, to: str | Sequence[str], type: str, body: Any = None, **options: Any) -> NewMessage:
        """Check a message for `send_prepared`, without access to the bus; takes `send`'s arguments. InputError."""
        return self._prepare(to, type, body, options)

    def prepare_reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> NewMessage:
        """Check an answer for `send_prepared`; takes `reply`'s arguments."""
        return self._prepare_reply(msg, type, body, options)

    def send_prepared(self, messages: Sequence[NewMessage]) -> list[Message]:
        """Send messages that `prepare` has checked, in one transaction: all of them or none."""
        return self._outbox.send_many(messages)

    def send_prepared_one(self, message: NewMessage) -> Message:
        """Do as `send_prepared` does for one message, faster."""
        return self._outbox.send(message)

    # Read with a bound: with `max_bytes` each stops after the message with which the texts come to so much

    def inbox(self, max: int = 100, peek: bool = False, *, max_bytes: int | None = None) -> list[Message]:
        """Return what is not acked, as BusClient does."""
        check_max(max)
        return self._mailbox.inbox(max, peek, max_bytes)

    def claim(
        self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True, max_bytes: int | None = None
    ) -> list[Message]:
        """Take ready messages under a lease, as BusClient does."""
        return self._claim(max, lease_s, max_bytes, remember)

    def dead(self, role: str | None = None, *, max: int = 100, max_bytes: int | None = None) -> list[Message]:
        """Return the deliveries that have died, as BusObserver does."""
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
        """Return one conversation or task, as BusObserver does; LimitError where its texts come to `max_bytes`."""
        return self._history(correlation_id, task_id, role, max, max_bytes)

    def thread(
        self, id: int, *, role: str | Sequence[str] | None = None, max: int = 1000, max_bytes: int | None = None
    ) -> list[Message]:
        """Return one conversation, as BusObserver does; LimitError where its texts come to `max_bytes`."""
        return self._thread(id, role, max, max_bytes)

    # Wait and write as the program's event loop has time

    def pending_request(
        self, to: str | Sequence[str], type: str, body: Any = None, *, timeout_s: float, **options: Any
    ) -> PendingRequest:
        """Check a request, given as to `request`: `send` it, then fetch the answer from its `pull_subscription`."""
        return self._pending_request(to, type, body, timeout_s=timeout_s, **options)

    def read_whole(self, id: int) -> Message:
        """Return one message as a whole, whoever its recipients are; raises MessageNotFoundError."""
        return BusObserver.read(self, id)

    def pull_subscription(self, *, ack: AckMode = "auto", lease_s: float = 30.0) -> PullSubscription:
        """Return a subscription to the mail of this address: wait as its `listener` says, then fetch."""
        check(ack, lease_s)
        return PullSubscription(self._mailbox, Listener(self._handle, self.address), ack, lease_s)

    def log(self, from_id: int = 1, *, role: str | Sequence[str] | None = None) -> LogCursor:
        """Return a place in the log from which to read on; `role` as in `tail`."""
        return LogCursor(self._store, from_id, role)

    def listener(self, *, receipts_of: int | None = None) -> Listener:
        """Return a listener that every send rings; the program then reads on in the `log`.

        With `receipts_of` it is rung instead when a delivery of that message has come further.
        """
        bell = ALL_TRAFFIC if receipts_of is None else receipt_address(receipts_of)
        return Listener(self._handle, bell)

    def data_version(self) -> int:
        """Return a number that changes when anyone but this connection has committed."""
        self._store.verify()
        return int(self._store.pragma("data_version"))

    def atomic(self) -> Atomic:
        """Make one commit of all that this thread writes over this connection in a block, by shared clients, too."""
        return Atomic(self._store)

    def no_wait(self) -> AbstractContextManager[None]:
        """Let writes of this thread inside the block raise BusyError at once instead of waiting for another writer."""
        return self._store.no_wait()

    def run_maintenance(self, at_most_s: float = 0.05) -> None:
        """Settle what time has brought, and drop what is beyond the limits of retention, for about so many seconds.

        While anybody waits or sends there is no need for it; a program that serves many calls it now and then.
        """
        with suppress(BusyError), self._store.no_wait():
            expiry.apply_due(self._store, self._doorbells.ring)
        if self._retention is not None:
            self._retention.run(at_most_s)

    def wal_size(self) -> int:
        """Return the size of the WAL in bytes: what a checkpoint has to write back."""
        return self._store.wal_size()

    def checkpoint(self) -> None:
        """Write the WAL back into the file; without `checkpoints=False` writes do so by themselves now and then."""
        self._store.checkpoint()
