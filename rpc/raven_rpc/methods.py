"""Methods: the one table of what can be called, with its parameters and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import raven
from raven import BusClient, BusObserver, InputError, Message, MessageNotFoundError, check_max
from raven_rpc import params
from raven_rpc.caller import Caller
from raven_rpc.params import Params
from raven_rpc.work import Work

# So much of bodies is answered at once; what an inbox holds beyond it is shown when the first are acked.
MAX_PAGE_BYTES = 16 * 1024 * 1024
# A read of one message brings its body, which may be long: it counts for so many writes.
_ONE_READ = 100


class Method(NamedTuple):
    """One method: what it takes, what it does for a caller, and what it answers, in words."""

    params: type[Params]
    run: Callable[[Caller, Any], Any]
    answers: str


def _messages(messages: list[Message]) -> dict[str, Any]:
    return {"messages": [message.as_dict() for message in messages]}


def _send(caller: Caller, given: params.Send) -> Work:
    """Send one message; when the answer comes it is committed, and whoever waits for it was woken."""
    bus = caller.client("from", given.from_)
    draft = bus.draft(**given.given())
    return Work("write", lambda: bus.post([draft])[0], Message.as_dict)


def _send_many(caller: Caller, given: params.SendMany) -> Work:
    """Send messages in one transaction: all of them or none."""
    bus = caller.client("from", given.from_)
    drafts = [bus.draft(**content.given()) for content in given.contents()]
    return Work("write", lambda: bus.post(drafts), _messages, weight=len(drafts))


def _inbox(caller: Caller, given: params.Inbox) -> Work:
    """Show what an address has not acked, by urgency, then id; marks first sight as delivered, unless peeking."""
    check_max(given.max)
    role = caller.role("role", given.role)
    bus = caller.server.reader_bus.share(role, register=False) if given.peek else caller.client("role", role)
    return Work(
        "read" if given.peek else "write",
        lambda: bus.inbox(given.max, given.peek, max_bytes=MAX_PAGE_BYTES),
        _messages,
        weight=given.max,
    )


def _read(caller: Caller, given: params.OfMessage) -> Work:
    """Return one message, as the given address has it, or as a whole; changes nothing."""
    role = caller.optional_role(given.role)
    bus = caller.server.reader_bus
    return Work("read", lambda: _visible(bus, given.id, role, caller.bound), Message.as_dict, weight=_ONE_READ)


def _visible(bus: BusClient, message_id: int, role: str | None, bound: tuple[str, ...]) -> Message:
    """Read a message as `role`; on a bound socket, as if what is neither from nor to its addresses did not exist."""
    whole = BusObserver.read(bus, message_id)
    recipients = bus.recipients(message_id)
    if bound and whole.sender not in bound and not set(bound) & set(recipients):
        raise MessageNotFoundError(f"there is no message #{message_id}: it never was, or it was pruned")
    return bus.share(role, register=False).read(message_id) if role in recipients else whole


def _recipients(caller: Caller, given: params.Recipients) -> Work:
    """List the addresses that a message was delivered to."""
    bus, bound = caller.server.reader_bus, caller.bound

    def recipients() -> list[str]:
        _visible(bus, given.id, None, bound)
        return list(bus.recipients(given.id))

    return Work("read", recipients, lambda found: {"recipients": found})


def _ack(caller: Caller, given: params.Ack) -> Work:
    """Finish one address's delivery of a message; twice is the same as once."""
    if given.subscription is not None:
        return _take(caller, given.id, given.subscription)
    role = caller.optional_role(given.role)
    bus, server = caller.server.writer_bus, caller.server

    def ack() -> str:
        if caller.bound:
            _visible(bus, given.id, role, caller.bound)
        owner = _only_recipient(bus, given.id, caller.bound) if role is None else role
        server.share(owner).ack(given.id)
        return owner

    return Work("write", ack, lambda _: {"acked": [given.id]}, lambda owner: server.release(owner, given.id))


def _take(caller: Caller, message_id: int, subscription: int) -> Work:
    """Ack a message that a subscription of this connection has set apart, if it still has it."""
    pusher = caller.connection.subscriptions.mail(subscription)
    return Work("write", lambda: pusher.take(message_id), lambda _: {"acked": [message_id]})


def _only_recipient(bus: BusClient, message_id: int, bound: tuple[str, ...]) -> str:
    _visible(bus, message_id, None, bound)
    recipients = [address for address in bus.recipients(message_id) if not bound or address in bound]
    if len(recipients) != 1:
        shown = ", ".join(recipients[:5]) + (", ..." if len(recipients) > 5 else "") or "nobody of this socket"
        raise InputError(f"message #{message_id} went to {shown}: say for whom you ack, with role")
    return recipients[0]


def _history(caller: Caller, given: params.History) -> Work:
    """Return the messages of one conversation or task in order, each as a whole."""
    bus, scope = caller.server.reader_bus, caller.scope(given.role)
    return Work(
        "read",
        lambda: bus.history(
            given.correlation_id, task_id=given.task_id, role=scope, max=given.max, max_bytes=MAX_PAGE_BYTES
        ),
        _messages,
        weight=given.max,
    )


def _subscribe(caller: Caller, given: params.Subscribe) -> Work:
    """Push messages of an address to this connection as they come, as notifications `message`."""
    bus = caller.client("role", given.role)
    return Work(
        "loop",
        lambda: caller.connection.subscriptions.add_mail(bus, given.ack, given.window),
        lambda pusher: {"subscription": pusher.number},
        lambda pusher: pusher.start(),
    )


def _tail(caller: Caller, given: params.Tail) -> Work:
    """Push all messages from an id on to this connection, consuming none, as notifications `message`."""
    scope = caller.scope(given.role)
    bus = caller.server.reader_bus
    return Work(
        "loop",
        lambda: caller.connection.subscriptions.add_log(bus.log(given.from_id, role=scope), given.follow),
        lambda pusher: {"subscription": pusher.number},
        lambda pusher: pusher.start(),
    )


def _unsubscribe(caller: Caller, given: params.Unsubscribe) -> Work:
    """End a subscription of this connection; what it pushed and nobody acked goes back at once."""
    return Work(
        "loop",
        lambda: caller.connection.subscriptions.remove(given.subscription),
        lambda _: {"unsubscribed": given.subscription},
    )


def _peers(caller: Caller, given: params.Peers) -> Work:
    """List who is registered or has mail: who is waiting now, who was seen when, how much waits for each."""
    bus = caller.server.reader_bus
    return Work("read", lambda: bus.peers(given.session), lambda found: {"peers": [peer.as_dict() for peer in found]})


def _register(caller: Caller, given: params.Register) -> Work:
    """Register addresses in advance, so that broadcasts reach them before they first use the bus."""
    roles = [given.role] if isinstance(given.role, str) else given.role
    addresses = [caller.check(role) for role in roles]
    bus = caller.server.writer_bus
    return Work("write", lambda: bus.register(*addresses), lambda _: {"registered": addresses})


def _last_id(caller: Caller, given: Params) -> Work:
    """Return the id of the newest message, 0 on an empty bus."""
    return Work("read", caller.server.reader_bus.last_id, lambda last: {"id": last})


def _hello(caller: Caller, given: params.Hello) -> dict[str, Any]:
    """Act as an address from now on, on this connection; `from` and `role` may then be left out."""
    if given.as_ is not None:
        caller.address = caller.check(given.as_)
    return {"as": caller.address, "bound": list(caller.bound), "version": raven.__version__}


def _ping(caller: Caller, given: Params) -> str:
    """Answer at once, however busy the bus is."""
    return "pong"


def _stats(caller: Caller, given: Params) -> dict[str, Any]:
    """Return what the helper has done since it started, and what waits; at once, however busy the bus is."""
    return dict(caller.server.stats())


def _discover(caller: Caller, given: Params) -> dict[str, Any]:
    """Describe all methods, as an OpenRPC document."""
    return dict(caller.server.description)


METHODS: dict[str, Method] = {
    "send": Method(params.Send, _send, "Message"),
    "send_many": Method(params.SendMany, _send_many, "Messages"),
    "inbox": Method(params.Inbox, _inbox, "Messages"),
    "read": Method(params.OfMessage, _read, "Message"),
    "recipients": Method(params.Recipients, _recipients, "Recipients"),
    "ack": Method(params.Ack, _ack, "Acked"),
    "history": Method(params.History, _history, "Messages"),
    "subscribe": Method(params.Subscribe, _subscribe, "Subscription"),
    "unsubscribe": Method(params.Unsubscribe, _unsubscribe, "Unsubscribed"),
    "tail": Method(params.Tail, _tail, "Subscription"),
    "peers": Method(params.Peers, _peers, "Peers"),
    "register": Method(params.Register, _register, "Registered"),
    "last_id": Method(Params, _last_id, "LastId"),
    "hello": Method(params.Hello, _hello, "Hello"),
    "ping": Method(Params, _ping, "Pong"),
    "stats": Method(Params, _stats, "Stats"),
    "rpc.discover": Method(Params, _discover, "OpenRPC"),
}
