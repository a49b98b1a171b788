"""Client: the bus through the server's socket, with the methods and types of `raven.BusClient`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack

from raven.errors import DatabaseError, InputError, LeaseLostError
from raven.model.leases import LeaseTracker
from raven.model.limits import check_id, check_max, check_poll_interval
from raven.model.message import Message, State
from raven.model.new_message import SendOptions
from raven_rpc.client import calls
from raven_rpc.client.calls import Call, messages_of, without_none
from raven_rpc.client.exchange import decode_as
from raven_rpc.client.long_call import LongCall
from raven_rpc.client.transport import Transport

if TYPE_CHECKING:
    from raven.model.status import Peer, Pruned, Receipt, Stats
    from raven_rpc.client.stream import AsyncMessageIterator
    from raven_rpc.client.transaction import Transaction

_T = TypeVar("_T")


class Client:
    """One identity on the bus behind a server's socket.

    >>> bus = Client("bus.db.sock", address="architect:swarm-1")
    >>> bus.send("verifier:swarm-1", "plan", {"step": 1})
    >>> for msg in bus.inbox():
    ...     bus.ack(msg.id)

    Without `address` it is the one that the socket is bound to, or none: such a client only looks. Any thread may use a
    client. It connects when it is first used, and again when the connection was lost, for up to `patience_s` seconds,
    with growing pauses: then UnreachableError, or LimitError from a server that is full. What may have been done
    already is not asked twice unless that makes no difference; a `send` without `dedup_key`, a `claim`, `nack` or
    `request` then raises LostError. `timeout_s` is how long a reply may take.
    """

    def __init__(
        self, socket_path: str, address: str | None = None, *, timeout_s: float = 30.0, patience_s: float = 5.0
    ) -> None:
        self._address = address
        self._transport = Transport(str(socket_path), timeout_s, patience_s)
        # The leases of what was claimed over this client: calls and loops have connections of their own.
        self._leases = LeaseTracker()

    @property
    def address(self) -> str | None:
        """This client's own address; that of a bound socket if none was given."""
        if self._address is None:
            self._address = self._call("hello", lambda result: result["as"])
        return self._address

    @property
    def db_path(self) -> str:
        """Where the bus is reached: the path of the socket."""
        return self._transport.path

    def call(self, method: str, params: Mapping[str, Any] | Sequence[Any] = ()) -> Any:
        """Call any method of the server, with parameters by name or by position, and return its result as JSON."""
        given = dict(params) if isinstance(params, Mapping) else list(params)
        return self._transport.persist(lambda: self._transport.ask(method, given), lost_too=False)

    def send(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Send one message, as `BusClient.send` does; LostError if it is not known whether it was sent."""
        return self._transport.do(calls.send(self._address, to, type, body, options))

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages, dicts of `send`'s parameters, in one transaction: all of them or none."""
        return self._transport.do(calls.send_many(self._address, messages))

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> Message:
        """Answer a message, given itself or by its id, as `BusClient.reply` does; `options` are those of `send`.

        ExpiredError if the sender waits for the answer no more; LostError as from `send`.
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
        """Send a message, wait for the answer that `reply` gives to it, and return that, acked.

        It waits over a connection of its own. `options` are those of `send`. Raises WaitTimeoutError after `timeout_s`
        seconds. Then, or when the connection ends (LostError, or ClosedError if this client was closed), no recipient
        begins with the request any more.
        """
        call = calls.request(self._address, to, type, body, timeout_s, options)
        return LongCall(self._transport, call, timeout_s).ask()

    async def request_async(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        timeout_s: float = 30.0,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Do as `request` does, without blocking the event loop; a cancelled task ends the request, too."""
        call = calls.request(self._address, to, type, body, timeout_s, options)
        return await LongCall(self._transport, call, timeout_s).ask_async()

    def inbox(self, max: int = 100, peek: bool = False) -> list[Message]:
        """Return what is not acked, by urgency, then id, again and again until acked."""
        return self._call("inbox", messages_of, role=self._address, max=max, peek=peek)

    def read(self, id: int) -> Message:
        """Return one message, as this address sees it if it is a recipient; changes nothing. MessageNotFoundError."""
        return self._call("read", Message.from_dict, id=id, role=self._address)

    def claim(self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True) -> list[Message]:
        """Take up to `max` ready messages under a lease of `lease_s` seconds, as `BusClient.claim` does.

        The client remembers its leases, so that a late `ack` is refused, unless `remember` is off. LostError if it is
        not known whether some were claimed: they are then ready again when their lease ends.
        """
        messages = self._transport.do(calls.claim(self._address, max, lease_s))
        if remember:
            self._leases.remember(messages)
        return messages

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Finish this address's delivery of a message; idempotent. MessageNotFoundError if it has none.

        What this client has claimed, or got from a loop with manual acks that still runs, or another has whose `lease`
        is given, it acks only while no other has the message: else LeaseLostError.
        """
        self._do_leased(id, calls.ack(self._address, self._leases, id, lease))

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> State:
        """Give a message back, ready for anyone at once or after `delay_s` seconds, saying why.

        Returns its state: `dead` if that was its last attempt. Raises LeaseLostError as `ack` does, DeliveryError for
        what is finished, MessageNotFoundError, and LostError if it is not known whether it was given back.
        """
        return self._do_leased(id, calls.nack(self._address, self._leases, id, delay_s, reason, lease))

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from now. LeaseLostError if it is not leased any more."""
        self._do_leased(id, calls.extend(self._address, self._leases, id, lease_s, lease), ends=False)

    def transaction(self) -> Transaction:
        """Keep calls until the end of a block, and have the server do them in one transaction: all of them or none.

        >>> with bus.transaction() as tx:
        ...     tx.ack(msg.id)
        ...     tx.send(msg.sender, "done")

        Unlike that of a BusClient, nothing is done inside the block, so that its calls return None: after it
        `tx.results` has what each returned. What is called on the client itself is no part of it. An exception that
        leaves the block sends nothing. LostError if it is not known whether it was done.
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

        With `ack="auto"` each is acked just before it is yielded: a crash loses at most the one in hand. With
        `"manual"` up to `max_per_poll` are leased to this loop until you `ack` them or leave it; what is not acked
        comes again. When the server is restarted the loop goes on. `poll_interval_s` and `lease_s` are there for
        `BusClient`'s sake: here the server does the looking, and keeps leases for as long as the loop's connection.
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
        """Yield messages as a whole from an id on, consuming none, as `BusObserver.tail` does.

        `poll_interval_s` is there for its sake: here the server does the looking.
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
        """Return the messages of one conversation or task in order, each as a whole."""
        params = {"correlation_id": correlation_id, "task_id": task_id, "role": _addresses(role), "max": max}
        return self._call("history", messages_of, **params)

    def thread(self, id: int, *, role: str | Sequence[str] | None = None, max: int = 1000) -> list[Message]:
        """Return the conversation that a message is part of by `reply_to`: all it answers, and all answers, in order.

        Each as a whole; `role` narrows it as in `history`. Raises MessageNotFoundError.
        """
        check_id(id)
        check_max(max)
        return self._call("thread", messages_of, id=id, role=_addresses(role), max=max)

    def receipts(self, id: int) -> list[Receipt]:
        """Return how far each delivery of a message has come, in the order of its recipients; MessageNotFoundError."""
        check_id(id)
        return self._call("receipts", _receipts_of, id=id)

    def wait_receipt(self, id: int, state: State = "acked", timeout_s: float | None = None) -> list[Receipt]:
        """Wait until every delivery of a message has come as far as `state`, and return the receipts.

        It waits over a connection of its own, and goes on when the server is restarted. Raises WaitTimeoutError after
        `timeout_s` seconds, UndeliveredError as soon as one delivery has expired or died instead, MessageNotFoundError.
        """
        return self._receipt_call(id, state, timeout_s).ask()

    async def wait_receipt_async(
        self, id: int, state: State = "acked", timeout_s: float | None = None
    ) -> list[Receipt]:
        """Do as `wait_receipt` does, without blocking the event loop."""
        return await self._receipt_call(id, state, timeout_s).ask_async()

    def dead(self, role: str | None = None, *, max: int = 100) -> list[Message]:
        """Return the deliveries that have died, of one recipient if `role` is given, with `reason` and times."""
        check_max(max)
        return self._call("dead", messages_of, role=role, max=max)

    def requeue(self, *ids: int, role: str | None = None, all: bool = False) -> int:
        """Revive the dead of some messages, or all there are, or those to one address; returns how many deliveries.

        As `BusObserver.requeue` does; LostError if it is not known whether it was done.
        """
        if all and ids:
            raise InputError("requeue takes ids, or all=True, not both")
        if not all and not ids:
            raise InputError("requeue needs the id of a message, or all=True")
        for id in ids:
            check_id(id)
        return self._call_long("requeue", lambda result: int(result["requeued"]), ids=list(ids), all=all, role=role)

    def purge_dead(self, role: str | None = None) -> int:
        """Drop the deliveries that have died, all or those to one address; returns how many. LostError as `requeue`."""
        return self._call_long("purge_dead", lambda result: int(result["purged"]), role=role)

    def peers(self, session: str | None = None) -> list[Peer]:
        """List who is registered or has mail: who is waiting now, who was seen when, how much waits for each."""
        from raven.model.status import Peer

        return self._call("peers", lambda result: list(map(Peer.from_dict, result["peers"])), session=session)

    def register(self, *addresses: str) -> None:
        """Register addresses in advance, so that broadcasts reach them before they first use the bus."""
        self._call("register", lambda _: None, role=list(addresses))

    def last_id(self) -> int:
        """Return the id of the newest message, 0 on an empty bus."""
        return self._call("last_id", lambda result: int(result["id"]))

    def stats(self, *, full: bool = True) -> Stats:
        """Return what is on the bus, as `BusObserver.stats` does; DatabaseError if the server cannot read it now.

        What the server itself has done is in `call("stats")`.
        """
        from raven.model.status import Stats

        # It waits its turn behind what else takes long there.
        bus = LongCall(self._transport, Call("stats", {"full": full}, lambda result: result["bus"], True)).ask()
        if bus is None:
            raise DatabaseError("the server cannot read the bus now: run `raven doctor` where its file is")
        return decode_as(Stats.from_dict, bus)

    def prune(
        self, older_than_s: float, *, dry_run: bool = False, progress: Callable[[Pruned], None] | None = None
    ) -> Pruned:
        """Drop finished messages older than a span of time and give their space back; what is unfinished stays.

        `progress` is called at the end. With `dry_run` it only counts. LostError if it is not known whether it was
        done; what was not can be done again.
        """
        pruned = self._call_long("prune", _pruned_of, older_than_s=older_than_s, dry_run=dry_run)
        if progress is not None:
            progress(pruned)
        return pruned

    def close(self) -> None:
        """Close the connections: calls raise ClosedError from now on, those of other threads that wait now, too.

        Loops in other threads end. Twice is allowed.
        """
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, read: Callable[[Any], _T], /, **params: Any) -> _T:
        """Call a method that makes no difference the second time; parameters that are None are left out."""
        return self._transport.do(Call(method, without_none(params), read, True))

    def _call_long(self, method: str, read: Callable[[Any], _T], /, **params: Any) -> _T:
        """Call a method that takes as long as there is work, once."""
        return LongCall(self._transport, Call(method, params, read)).ask()

    def _receipt_call(self, id: int, state: State, timeout_s: float | None) -> LongCall[list[Receipt]]:
        check_id(id)
        call = Call("wait_receipt", {"id": id, "state": state}, _receipts_of, True)
        return LongCall(self._transport, call, timeout_s, may_wait_forever=True)

    def _do_leased(self, id: int, call: Call[_T], *, ends: bool = True) -> _T:
        """Make a call with the lease of a message, and forget that once it has ended; one that is lost stays known."""
        try:
            result = self._transport.do(call)
        except LeaseLostError:
            self._leases.mark_lost(id)
            raise
        if ends:
            self._leases.forget(id)
        return result


def _receipts_of(result: Any) -> list[Receipt]:
    from raven.model.status import Receipt

    return [Receipt.from_dict(shape) for shape in result["receipts"]]


def _pruned_of(result: Any) -> Pruned:
    from raven.model.status import Pruned

    # Only what was dropped is told, and no other candidates.
    return Pruned(result["messages"], result["bytes"], result["messages"])


def _addresses(role: str | Sequence[str] | None) -> str | list[str] | None:
    return role if role is None or isinstance(role, str) else list(role)
