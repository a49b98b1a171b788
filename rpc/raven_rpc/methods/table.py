"""Methods: the one table of all methods, with their parameters and results."""

from __future__ import annotations

from typing import Any

from raven.model.version import __version__
from raven_rpc.methods import admin, params, read, receive, send
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Method, Work
from raven_rpc.methods.params import Params
from raven_rpc.methods.transaction import transact


def _transaction(context: Context, args: params.Transaction) -> Work:
    """Run several calls in one commit, all or none; the first error is the error of the whole transaction."""
    return transact(context, args, METHODS)


def _subscribe(context: Context, args: params.Subscribe) -> Work:
    """Push the messages of an address to this connection as they arrive, as notifications `message`."""
    bus = context.client("role", args.role)
    return Work(
        "loop",
        lambda: context.subscriptions.add_mail(bus, args.ack, args.window),
        lambda push: {"subscription": push.number},
        lambda push: push.poller.start(),
    )


def _tail(context: Context, args: params.Tail) -> Work:
    """Push all messages from an ID on to this connection, as notifications `message`, without consuming them."""
    bus, role = context.view(context.host.reader_bus, args.role), context.filter(args.role)
    return Work(
        "loop",
        lambda: context.subscriptions.add_log(bus.log(args.from_id, role=role), args.follow),
        lambda push: {"subscription": push.number},
        lambda push: push.poller.start(),
    )


def _unsubscribe(context: Context, args: params.OneSubscription) -> Work:
    """End a subscription of this connection, and release its unacked messages at once."""
    return Work(
        "loop",
        lambda: context.subscriptions.remove(args.subscription),
        lambda _: {"unsubscribed": args.subscription},
    )


def _register(context: Context, args: params.Register) -> Work:
    """Register addresses in advance, so that broadcasts reach them before they first use the bus."""
    roles = [args.role] if isinstance(args.role, str) else args.role
    addresses = [context.check(role) for role in roles]
    bus = context.writer
    return Work("write", lambda: bus.register(*addresses), lambda _: {"registered": addresses})


def _hello(context: Context, args: params.Hello) -> dict[str, Any]:
    """Set the address of this connection, the default of `from` and `role` from now on."""
    if args.as_ is not None:
        context.address = context.check(args.as_)
    return {"as": context.address, "bound": list(context.bound), "version": __version__}


def _ping(context: Context, args: Params) -> str:
    """Return `pong` at once, however busy the bus is."""
    return "pong"


def _discover(context: Context, args: Params) -> dict[str, Any]:
    """Return an OpenRPC document of all methods."""
    return context.facts.description


METHODS: dict[str, Method] = {
    "send": Method(params.Send, send.send, "Message"),
    "send_many": Method(params.SendMany, send.send_many, "Messages"),
    "inbox": Method(params.Inbox, receive.inbox, "Messages"),
    "claim": Method(params.Claim, receive.claim, "Messages"),
    "read": Method(params.Read, read.read, "Message"),
    "recipients": Method(params.OneMessage, read.recipients, "Recipients"),
    "ack": Method(params.Ack, receive.ack, "Acked"),
    "nack": Method(params.Nack, receive.nack, "Nacked"),
    "extend": Method(params.Extend, receive.extend, "Extended"),
    "reply": Method(params.Reply, send.reply, "Message"),
    "request": Method(params.Request, send.request, "Message"),
    "receipts": Method(params.OneMessage, read.receipts, "Receipts"),
    "wait_receipt": Method(params.WaitReceipt, read.wait_receipt, "Receipts"),
    "transaction": Method(params.Transaction, _transaction, "Results"),
    "history": Method(params.History, read.history, "Messages"),
    "thread": Method(params.Thread, read.thread, "Messages"),
    "subscribe": Method(params.Subscribe, _subscribe, "Subscription"),
    "held": Method(params.OneSubscription, receive.held, "Held"),
    "unsubscribe": Method(params.OneSubscription, _unsubscribe, "Unsubscribed"),
    "tail": Method(params.Tail, _tail, "Subscription"),
    "peers": Method(params.Peers, read.peers, "Peers"),
    "register": Method(params.Register, _register, "Registered"),
    "last_id": Method(Params, read.last_id, "LastId"),
    "dead": Method(params.Dead, admin.dead, "Messages"),
    "requeue": Method(params.Requeue, admin.requeue, "Requeued"),
    "purge_dead": Method(params.PurgeDead, admin.purge_dead, "Purged"),
    "prune": Method(params.Prune, admin.prune, "Pruned"),
    "forget": Method(params.Forget, admin.forget, "Forgotten"),
    "hello": Method(params.Hello, _hello, "Hello"),
    "ping": Method(Params, _ping, "Pong"),
    "stats": Method(params.Stats, admin.stats, "Stats"),
    "rpc.discover": Method(Params, _discover, "OpenRPC"),
}
