"""Client: the bus through the server's socket, with the methods and types of `raven.BusClient`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack

from raven.errors import DatabaseError, InputError, LeaseLostError
from raven.model.address import parse_address
from raven.model.leases import LeaseTracker
from raven.model.limits import GRACE_S, check_id, check_max, check_poll_interval
from raven.model.message import Message, State
from raven.model.new_message import SendOptions
from raven_rpc.client import calls
from raven_rpc.client.calls import Call, messages_of, without_none
from raven_rpc.client.exchange import decode_as
from raven_rpc.client.long_poll import LongPoll
from raven_rpc.client.transport import Transport

if TYPE_CHECKING:
    from raven.model.status import Forgotten, Peer, Pruned, Receipt, Stats
    from raven_rpc.client.stream import AsyncMessageIterator
    from raven_rpc.client.transaction import Transaction

_T = TypeVar("_T")


class Client:
    """One identity on the bus behind a server's socket.

    >>> bus = Client("bus.db.sock", address="architect:swarm-1")
    >>> bus.send("verifier:swarm-1", "plan", {"step": 1})
    >>> for msg in bus.inbox():
    ...     bus.ack(msg.id)

    Without `address` the client has the address that the socket is bound to. On an unbound socket it has none, and can
    only read. Any thread may use a client. It connects at its first call, and again after a lost connection. It tries
    for up to `connect_timeout_s` seconds, with growing pauses, then raises UnreachableError, or LimitError if the
    server is full.
    If the connection is lost during a call, an idempotent call is repeated. A `send` without `dedup_key`, a `claim`,
    `nack` or `request` raises LostError instead, because the server may have done it. `timeout_s` is how long a reply
    may take. `patience_s` is the deprecated name of `connect_timeout_s`.
    """

    def __init__(
        self,
        socket_path: str,
        address: str | None = None,
        *,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        patience_s: float | None = None,
    ) -> None:
        if patience_s is not None:
            warnings.warn("patience_s is deprecated: use connect_timeout_s", DeprecationWarning, stacklevel=2)
            connect_timeout_s = patience_s
        self._address = None if address is None else str(parse_address(address))
        self._transport = Transport(str(socket_path), timeout_s, connect_timeout_s)
        # All leases that this client holds; loops and long calls use connections of their own.
        self._leases = LeaseTracker()

    @property
    def address(self) -> str | None:
        """This client's own address; without `address`, that of the bound socket, or None."""
        if self._address is None:
            self._address = self._call("hello", lambda result: result["as"])
        return self._address

    @property
    def db_path(self) -> str:
        """The path of the socket, by which this client reaches the bus."""
        return self._transport.path

    def call(self, method: str, params: Mapping[str, Any] | Sequence[Any] = ()) -> Any:
        """Call any method of the server, with parameters by name or by position, and return its result as JSON."""
        values = dict(params) if isinstance(params, Mapping) else list(params)
        return self._transport.retry(lambda: self._transport.ask(method, values), retry_lost=False)

    def send(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Send one message, as `BusClient.send` does; LostError if the client cannot know whether it was sent."""
        return self._transport.do(calls.send(self._address, to, type, body, options))

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages, dicts of `send`'s parameters, in one transaction: all of them or none."""
        return self._transport.do(calls.send_many(self._address, messages))

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> Message:
        """Reply to a message, given itself or by its id, as `BusClient.reply` does; `options` as for `send`.

        ExpiredError if the sender no longer waits for the reply; LostError as from `send`.
        """
        return self._transport.do(calls.reply(self._address, msg, type, body, options))

    def request(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        timeout_s: float = 30.0,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Send a message, wait for the reply to it, and return that reply, acked.

        It waits over a connection of its own. `options` are the options of `send`. Raises WaitTimeoutError after
        `timeout_s` seconds. After that, or when the connection ends (LostError, or ClosedError if this client was
        closed), no recipient can start on the request.
        """
        call = calls.request(self._address, to, type, body, timeout_s, options)
        return LongPoll(self._transport, call, timeout_s).ask()

    async def request_async(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        timeout_s: float = 30.0,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Do as `request` does, without blocking the event loop; cancelling the task withdraws the request, too."""
        call = calls.request(self._address, to, type, body, timeout_s, options)
        return await LongPoll(self._transport, call, timeout_s).ask_async()

    def inbox(self, max: int = 100, peek: bool = False) -> list[Message]:
        """Return the messages that are not acked, by urgency, then id; each is returned again until it is acked."""
        return self._call("inbox", messages_of, role=self._address, max=max, peek=peek)

    def read(self, id: int) -> Message:
        """Return one message, as this address sees it if it is a recipient; changes nothing. MessageNotFoundError."""
        return self._call("read", Message.from_dict, id=id, role=self._address)

    def claim(self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True) -> list[Message]:
        """Take up to `max` ready messages under a lease of `lease_s` seconds, as `BusClient.claim` does.

        The client remembers its leases, so that a late `ack` is refused, unless `remember` is off. LostError if the
        client cannot know whether messages were claimed: they are then ready again when their lease ends. The lease
        begins at the server: if the answer took long, `extend` tells whether you still hold a message.
        """
        messages = self._transport.do(calls.claim(self._address, max, lease_s))
        if remember:
            self._leases.remember(messages)
        return messages

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Finish this address's delivery of a message; idempotent. MessageNotFoundError if it has none.

        The lease is `lease`, or the one that this client remembers of a claim or of a running loop with manual acks.
        Raises LeaseLostError if another consumer has leased the message since.
        """
        self._end_lease(calls.ack(self._address, self._leases, id, lease))

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> State:
        """Release a message: it is ready at once, or after `delay_s` seconds. `reason` is stored with it.

        Returns its state: `dead` if that was its last attempt. Raises LeaseLostError as `ack` does, DeliveryError if
        the delivery is finished, MessageNotFoundError, and LostError if the client cannot know whether it was released.
        """
        return self._end_lease(calls.nack(self._address, self._leases, id, delay_s, reason, lease))

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from now. LeaseLostError if the lease has ended."""
        call = calls.extend(self._address, self._leases, id, lease_s, lease)
        try:
            self._transport.do(call)
        except LeaseLostError:
            self._leases.mark_lost(*call.leased())
            raise

    def transaction(self) -> Transaction:
        """Collect the calls of a block; at its end the server makes them in one transaction: all of them or none.

        >>> with bus.transaction() as tx:
        ...     tx.ack(msg.id)
        ...     tx.send(msg.sender, "done")

        Unlike with BusClient, the calls in the block return None, and take effect at its end: then `tx.results` has
        their results. Calls of the client itself are not part of the transaction. After an exception in the block
        nothing is sent. LostError if the client cannot know whether the transaction was committed.
        """
        from raven_rpc.client.transaction import Transaction

        return Transaction(self._transport, self._leases, self._address, type(self))

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

        With `ack="auto"` each is acked just before it is yielded: a crash loses at most the one in flight. With
        `"manual"` up to `max_per_poll` are leased to this loop until you `ack` them or leave it; messages that are not
        acked are delivered again. The loop survives a restart of the server. `poll_interval_s` and `lease_s` exist
        only for likeness to `BusClient`: the server polls, and keeps the leases as long as the loop's connection.
        """
        from raven_rpc.client import stream
        from raven_rpc.client.subscription import Options

        options = Options(ack, lease_s, poll_interval_s, max_per_poll)
        return stream.listen(self._transport, self._leases, self._address, options, timeout_s)

    def subscribe(
        self,
        *,
        ack: Literal["auto", "manual"] = "auto",
        lease_s: float = 30.0,
        poll_interval_s: float = 1.0,
        max_per_poll: int = 50,
        timeout_s: float | None = None,
    ) -> AsyncMessageIterator:
        """Do as `listen` does, for `async for`, without blocking the event loop."""
        from raven_rpc.client.stream import AsyncMessageIterator
        from raven_rpc.client.subscription import Options

        options = Options(ack, lease_s, poll_interval_s, max_per_poll)
        return AsyncMessageIterator(self._transport, self._leases, self._address, options, timeout_s)

    def tail(
        self,
        from_id: int = 1,
        *,
        role: str | Sequence[str] | None = None,
        follow: bool = True,
        poll_interval_s: float = 1.0,
        timeout_s: float | None = None,
    ) -> Iterator[Message]:
        """Yield whole messages from an id on, consuming none, as `BusObserver.tail` does.

        `poll_interval_s` exists only for likeness to it: the server polls.
        """
        from raven_rpc.client import stream
        from raven_rpc.client.subscription import Log

        check_poll_interval(poll_interval_s)
        return stream.tail(self._transport, Log(from_id, role, follow), timeout_s if follow else None)

    def recipients(self, id: int) -> list[str]:
        """Return the addresses that a message was delivered to; raises MessageNotFoundError."""
        return self._call("recipients", lambda result: list(result["recipients"]), id=id)

    def history(
        self,
        correlation_id: str | int | None = None,
        *,
        task_id: str | int | None = None,
        role: str | Sequence[str] | None = None,
        max: int = 1000,
    ) -> list[Message]:
        """Return the whole messages of one conversation or task, in order."""
        params = {"correlation_id": correlation_id, "task_id": task_id, "role": calls.addresses_of(role), "max": max}
        return self._call("history", messages_of, **params)

    def thread(self, id: int, *, role: str | Sequence[str] | None = None, max: int = 1000) -> list[Message]:
        """Return the conversation of a message by `reply_to`: all messages that it answers, and all replies, in order.

        Each is a whole message; `role` filters as in `history`. Raises MessageNotFoundError.
        """
        check_id(id)
        check_max(max)
        return self._call("thread", messages_of, id=id, role=calls.addresses_of(role), max=max)

    def receipts(self, id: int) -> list[Receipt]:
        """Return the state of each delivery of a message, in the order of its recipients; MessageNotFoundError."""
        check_id(id)
        return self._call("receipts", calls.receipts_of, id=id)

    def wait_receipt(self, id: int, state: State = "acked", timeout_s: float | None = None) -> list[Receipt]:
        """Wait until every delivery of a message has reached `state`, and return the receipts.

        It waits over a connection of its own, and survives a restart of the server. Raises WaitTimeoutError after
        `timeout_s` seconds, UndeliveredError as soon as one delivery has expired or died instead, MessageNotFoundError.
        """
        return self._receipt_call(id, state, timeout_s).ask()

    async def wait_receipt_async(
        self, id: int, state: State = "acked", timeout_s: float | None = None
    ) -> list[Receipt]:
        """Do as `wait_receipt` does, without blocking the event loop."""
        return await self._receipt_call(id, state, timeout_s).ask_async()

    def dead(self, role: str | None = None, *, max: int = 100) -> list[Message]:
        """Return the dead deliveries, of one recipient if `role` is given, with `reason` and times."""
        check_max(max)
        return self._call("dead", messages_of, role=role, max=max)

    def requeue(self, *ids: int, role: str | None = None, all: bool = False) -> int:
        """Requeue the dead deliveries of some messages, or all, or those to one address; returns their number.

        As `BusObserver.requeue` does; LostError if the client cannot know whether it was done.
        """
        if all and ids:
            raise InputError("requeue takes ids, or all=True, not both")
        if not all and not ids:
            raise InputError("requeue needs the id of a message, or all=True")
        for id in ids:
            check_id(id)
        return self._call_long("requeue", lambda result: int(result["requeued"]), ids=list(ids), all=all, role=role)

    def purge_dead(self, role: str | None = None) -> int:
        """Delete the dead deliveries, all or those to one address; returns their number. LostError as `requeue`."""
        return self._call_long("purge_dead", lambda result: int(result["purged"]), role=role)

    def peers(self, session: str | None = None) -> list[Peer]:
        """List the addresses that are registered or have mail, with their waiters, times and pending messages."""
        from raven.model.status import Peer

        return self._call("peers", lambda result: list(map(Peer.from_dict, result["peers"])), session=session)

    def register(self, *addresses: str) -> None:
        """Register addresses in advance, so that broadcasts reach them before they first use the bus."""
        self._call("register", lambda _: None, role=list(addresses))

    def last_id(self) -> int:
        """Return the id of the newest message, 0 on an empty bus."""
        return self._call("last_id", lambda result: int(result["id"]))

    def stats(self, *, full: bool = True) -> Stats:
        """Return the statistics of the bus, as `BusObserver.stats` does; DatabaseError if the server cannot read it.

        `call("stats")` has the counters of the server itself.
        """
        from raven.model.status import Stats

        # The server runs it after other long work.
        bus = LongPoll(self._transport, Call("stats", {"full": full}, lambda result: result["bus"], True)).ask()
        if bus is None:
            raise DatabaseError("the server cannot read the bus now: run `raven doctor` where its file is")
        return decode_as(Stats.from_dict, bus)

    def prune(
        self,
        older_than_s: float,
        *,
        dry_run: bool = False,
        progress: Callable[[Pruned], None] | None = None,
        grace_s: float = GRACE_S,
        unfinished: bool = False,
    ) -> Pruned:
        """Delete finished messages older than `older_than_s`, as `BusClient.prune` does; calls `progress` at the end.

        LostError if the client cannot know whether it was done; it can be repeated.
        """
        params = {"older_than_s": older_than_s, "dry_run": dry_run, "grace_s": grace_s, "unfinished": unfinished}
        pruned = self._call_long("prune", calls.pruned_of, **params)
        if progress is not None:
            progress(pruned)
        return pruned

    def forget(self, *targets: str) -> Forgotten:
        """Unregister addresses and let their mail expire, as `BusClient.forget` does."""
        return self._call_long("forget", calls.forgotten_of, role=list(targets))

    def close(self) -> None:
        """Close all connections; loops in other threads end. Later and waiting calls raise ClosedError. Idempotent."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, read: Callable[[Any], _T], /, **params: Any) -> _T:
        """Call an idempotent method; parameters that are None are left out."""
        return self._transport.do(Call(method, without_none(params), read, True))

    def _call_long(self, method: str, read: Callable[[Any], _T], /, **params: Any) -> _T:
        """Call a method of any duration, once."""
        return LongPoll(self._transport, Call(method, params, read)).ask()

    def _receipt_call(self, id: int, state: State, timeout_s: float | None) -> LongPoll[list[Receipt]]:
        check_id(id)
        call = Call("wait_receipt", {"id": id, "state": state}, calls.receipts_of, True)
        return LongPoll(self._transport, call, timeout_s, may_wait_forever=True)

    def _end_lease(self, call: Call[_T]) -> _T:
        """Make a call that ends the lease of a message; a lease that it does not end stays known."""
        with self._leases.ending([call.leased()]):
            return self._transport.do(call)
