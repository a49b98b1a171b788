"""Methods: the one table of what can be called, with its parameters and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import raven
from raven_rpc.methods import admin as upkeep
from raven_rpc.methods import params
from raven_rpc.methods import read as views
from raven_rpc.methods import receive as deliveries
from raven_rpc.methods import send as posts
from raven_rpc.methods import transaction as commit
from raven_rpc.methods.caller import Caller
from raven_rpc.methods.params import Params
from raven_rpc.server.worker import Work


class Method(NamedTuple):
    """One method: what it takes, what it does for a caller, and what it answers, in words."""

    params: type[Params]
    run: Callable[[Caller, Any], Any]
    answers: str


def _transaction(caller: Caller, given: params.Transaction) -> Work:
    """Make one commit of several calls: all of them or none; the first error is that of the whole."""
    return commit.transact(caller, given, METHODS)


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


def _register(caller: Caller, given: params.Register) -> Work:
    """Register addresses in advance, so that broadcasts reach them before they first use the bus."""
    roles = [given.role] if isinstance(given.role, str) else given.role
    addresses = [caller.check(role) for role in roles]
    bus = caller.server.writer_bus
    return Work("write", lambda: bus.register(*addresses), lambda _: {"registered": addresses})


def _hello(caller: Caller, given: params.Hello) -> dict[str, Any]:
    """Act as an address from now on, on this connection; `from` and `role` may then be left out."""
    if given.as_ is not None:
        caller.address = caller.check(given.as_)
    return {"as": caller.address, "bound": list(caller.bound), "version": raven.__version__}


def _ping(caller: Caller, given: Params) -> str:
    """Answer at once, however busy the bus is."""
    return "pong"


def _discover(caller: Caller, given: Params) -> dict[str, Any]:
    """Describe all methods, as an OpenRPC document."""
    return dict(caller.server.description)


METHODS: dict[str, Method] = {
    "send": Method(params.Send, posts.send, "Message"),
    "send_many": Method(params.SendMany, posts.send_many, "Messages"),
    "inbox": Method(params.Inbox, deliveries.inbox, "Messages"),
    "claim": Method(params.Claim, deliveries.claim, "Messages"),
    "read": Method(params.OfMessage, views.read, "Message"),
    "recipients": Method(params.OneMessage, views.recipients, "Recipients"),
    "ack": Method(params.Ack, deliveries.ack, "Acked"),
    "nack": Method(params.Nack, deliveries.nack, "Nacked"),
    "extend": Method(params.Extend, deliveries.extend, "Extended"),
    "reply": Method(params.Reply, posts.reply, "Message"),
    "request": Method(params.Request, posts.request, "Message"),
    "receipts": Method(params.OneMessage, views.receipts, "Receipts"),
    "wait_receipt": Method(params.WaitReceipt, views.wait_receipt, "Receipts"),
    "transaction": Method(params.Transaction, _transaction, "Results"),
    "history": Method(params.History, views.history, "Messages"),
    "thread": Method(params.Thread, views.thread, "Messages"),
    "subscribe": Method(params.Subscribe, _subscribe, "Subscription"),
    "unsubscribe": Method(params.Unsubscribe, _unsubscribe, "Unsubscribed"),
    "tail": Method(params.Tail, _tail, "Subscription"),
    "peers": Method(params.Peers, views.peers, "Peers"),
    "register": Method(params.Register, _register, "Registered"),
    "last_id": Method(Params, views.last_id, "LastId"),
    "dead": Method(params.Dead, upkeep.dead, "Messages"),
    "requeue": Method(params.Requeue, upkeep.requeue, "Requeued"),
    "purge_dead": Method(params.PurgeDead, upkeep.purge_dead, "Purged"),
    "prune": Method(params.Prune, upkeep.prune, "Pruned"),
    "hello": Method(params.Hello, _hello, "Hello"),
    "ping": Method(Params, _ping, "Pong"),
    "stats": Method(params.Stats, upkeep.stats, "Stats"),
    "rpc.discover": Method(Params, _discover, "OpenRPC"),
}
