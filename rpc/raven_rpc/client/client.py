"""Client: the bus through the helper's socket, with the methods and types of `raven.BusClient`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypeVar

import raven
from raven import Holdings, LeaseLostError, Message, State, check_max
from raven_rpc.client import calls
from raven_rpc.client import stream as streams
from raven_rpc.client.calls import Call, messages_of
from raven_rpc.client.connection import shaped
from raven_rpc.client.sender import Sender

if TYPE_CHECKING:
    from raven_rpc.client.async_stream import AsyncMessages
    from raven_rpc.client.transaction import Transaction

_T = TypeVar("_T")


class Client(Sender):
    """One identity on the bus behind a helper's socket.

    >>> bus = Client("bus.db.sock", address="architect:swarm-1")
    >>> bus.send("verifier:swarm-1", "plan", {"step": 1})
    >>> for msg in bus.inbox():
    ...     bus.ack(msg.id)

    Without `address` it is the one that the socket is bound to, or nobody, who only looks. Any thread may use a client.
    It connects when it is first used, and again when the connection was lost, for up to `patience_s` seconds, with
    growing pauses: then UnreachableError, or LimitError from a helper that is full. What may have been done already is
    not asked twice unless that makes no difference; a `send` without `dedup_key`, a `claim`, `nack` or `request` then
    raises LostError.
    """

    def __init__(
        self, socket_path: str, address: str | None = None, *, timeout_s: float = 30.0, patience_s: float = 5.0
    ) -> None:
        super().__init__(socket_path, address, timeout_s=timeout_s, patience_s=patience_s)
        # The leases of what was claimed over this client: calls and loops have connections of their own.
        self._holdings = Holdings()

    def inbox(self, max: int = 100, peek: bool = False) -> list[Message]:
        """Return what is not acked, by urgency, then id, again and again until acked."""
        return shaped(messages_of, self._call("inbox", role=self._address, max=max, peek=peek))

    def read(self, id: int) -> Message:
        """Return one message, as this address sees it if it is a recipient; changes nothing. MessageNotFoundError."""
        return shaped(Message.from_dict, self._call("read", id=id, role=self._address))

    def claim(self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True) -> list[Message]:
        """Take up to `max` ready messages under a lease of `lease_s` seconds, as `BusClient.claim` does.

        The client remembers its leases, so that a late `ack` is refused, unless `remember` is off. LostError where it
        is not known whether some were claimed: they are then ready again when their lease ends.
        """
        check_max(max)
        raven.check_lease(lease_s)
        found = self._call("claim", retry=False, role=self._address, max=max, lease_s=lease_s)
        messages = shaped(messages_of, found)
        if remember:
            self._holdings.remember(messages)
        return messages

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Finish this address's delivery of a message; idempotent. MessageNotFoundError where it has none.

        What this client has claimed, or got from a loop with manual acks that still runs, or another has whose `lease`
        is given, it acks only while no other has the message: else LeaseLostError.
        """
        self._under_lease(id, calls.ack(self._address, id, self._lease_of(id, lease)))

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> State:
        """Give a message back, ready for anyone at once or after `delay_s` seconds, saying why.

        Returns its state: `dead` if that was its last attempt. Raises LeaseLostError as `ack` does, DeliveryError for
        what is finished, MessageNotFoundError, and LostError where it is not known whether it was given back.
        """
        return self._under_lease(id, calls.nack(self._address, id, delay_s, reason, self._lease_of(id, lease)))

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from now. LeaseLostError where it is not leased any more."""
        self._under_lease(id, calls.extend(self._address, id, lease_s, self._lease_of(id, lease)), ends=False)

    def transaction(self) -> Transaction:
        """Keep calls until the end of a block, and have the helper do them in one transaction: all of them or none.

        >>> with bus.transaction() as tx:
        ...     tx.ack(msg.id)
        ...     tx.send(msg.sender, "done")

        Unlike that of a BusClient, nothing is done inside the block, so that its calls return nothing: after it
        `tx.results` has what each returned. What is called on the client itself is no part of it. An exception that
        leaves the block sends nothing. LostError where it is not known whether it was done.
        """
        from raven_rpc.client.transaction import Transaction

        return Transaction(self)

    def register(self, *addresses: str) -> None:
        """Register addresses in advance, so that broadcasts reach them before they first use the bus."""
        self._call("register", role=list(addresses))

    def listen(
        self,
        *,
        ack: Literal["auto", "manual"] = "auto",
        lease_s: float = 30.0,
        poll_interval_s: float = 1.0,
        max_per_poll: int = 50,
        timeout_s: float | None = None,
    ) -> Iterator[Message]:
        """Yield messages as they come; `timeout_s` ends the loop after that many seconds.

        With `ack="auto"` each is acked just before it is yielded: a crash loses at most the one in hand. With
        `"manual"` up to `max_per_poll` are leased to this loop until you `ack` them or leave it; what is not acked
        comes again. When the helper is restarted the loop goes on. `poll_interval_s` and `lease_s` are there for
        `BusClient`'s sake: here the helper does the looking, and keeps leases for as long as the loop's connection.
        """
        return streams.listen(self, streams.Options(ack, lease_s, poll_interval_s, max_per_poll), timeout_s)

    def subscribe(
        self,
        *,
        ack: Literal["auto", "manual"] = "auto",
        lease_s: float = 30.0,
        poll_interval_s: float = 1.0,
        max_per_poll: int = 50,
        timeout_s: float | None = None,
    ) -> AsyncMessages:
        """Do as `listen` does, for `async for`, without blocking the event loop."""
        from raven_rpc.client.async_stream import AsyncMessages

        return AsyncMessages(self, streams.Options(ack, lease_s, poll_interval_s, max_per_poll), timeout_s)

    def _lease_of(self, id: int, lease: int | None) -> int | None:
        """Return the lease to be told with a message, the one given or remembered; raises InputError."""
        raven.check_id(id)
        return self._holdings.lease_of(id) if lease is None else lease

    def _under_lease(self, id: int, call: Call[_T], *, ends: bool = True) -> _T:
        """Make a call with the lease of a message, and forget that once it has ended; one that is lost stays known."""
        try:
            result = self._do(call)
        except LeaseLostError:
            self._holdings.lose(id)
            raise
        if ends:
            self._holdings.forget(id)
        return result
