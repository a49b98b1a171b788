"""Send: the methods that put messages on the bus."""

from __future__ import annotations

from raven.model.message import Message
from raven_rpc.methods import params
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Work
from raven_rpc.methods.receive import as_messages


def send(context: Context, args: params.Send) -> Work:
    """Send one message. Before the response it is committed, and its waiting recipients are woken."""
    bus = context.client("from", args.from_)
    message = bus.prepare(**args.send_kwargs())
    return Work("write", lambda: bus.send_prepared_one(message), Message.as_dict)


def send_many(context: Context, args: params.SendMany) -> Work:
    """Send messages in one transaction: all of them or none."""
    bus = context.client("from", args.from_)
    messages = [bus.prepare(**content.send_kwargs()) for content in args.contents()]
    return Work("write", lambda: bus.send_prepared(messages), as_messages, weight=len(messages))


def reply(context: Context, args: params.Reply) -> Work:
    """Reply to a message: to the address where its sender waits for the reply, or else to the sender."""
    bus = context.client("from", args.from_)

    def send_reply() -> Message:
        request = context.read_as(context.writer, args.id, None)
        return bus.send_prepared_one(bus.prepare_reply(request, **args.send_kwargs()))

    return Work("write", send_reply, Message.as_dict)


def request(context: Context, args: params.Request) -> Work:
    """Send a message, wait for the reply to it, and return that reply, acked; later requests overtake this one."""
    pending = context.client("from", args.from_).pending_request(timeout_s=args.timeout_s, **args.send_kwargs())
    context.deferred.reserve()
    return Work(
        "write", pending.send, Message.as_dict, deferred=lambda _: context.deferred.for_reply(pending, args.timeout_s)
    )
