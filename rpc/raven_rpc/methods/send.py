"""Send: the methods that put messages on the bus."""

from __future__ import annotations

from raven.host.admission import PATTERN_COST
from raven.model.address import WILDCARD
from raven.model.message import Message
from raven.model.new_message import NewMessage
from raven_rpc.methods import params
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Work
from raven_rpc.methods.receive import as_messages

# The write of so many bytes takes about as long as that of a delivery.
_BYTES_PER_WEIGHT = 4096


def send(context: Context, args: params.Send) -> Work:
    """Send one message. Before the response it is committed, and its waiting recipients are woken."""
    bus = context.client("from", args.from_)
    message = bus.prepare(**args.send_kwargs())
    return Work("write", lambda: bus.send_prepared_one(message), Message.as_dict, weight=_weight_of(message))


def send_many(context: Context, args: params.SendMany) -> Work:
    """Send messages in one transaction: all of them or none."""
    bus = context.client("from", args.from_)
    messages = [bus.prepare(**content.send_kwargs()) for content in args.contents()]
    return Work("write", lambda: bus.send_prepared(messages), as_messages, weight=sum(map(_weight_of, messages)))


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
    return Work(
        "write",
        pending.send,
        Message.as_dict,
        deferred=lambda _: context.deferred.for_reply(pending, args.timeout_s),
        weight=_weight(1, args.to) if isinstance(args.to, str) else _weight(len(args.to), "".join(args.to)),
    )


def _weight_of(message: NewMessage) -> int:
    """Return about how many deliveries a message makes; a long body, or a pattern, weighs as much as many."""
    return _weight(len(message.targets), message.row.to) + len(message.row.body) // _BYTES_PER_WEIGHT


def _weight(recipients: int, to: str) -> int:
    return recipients + to.count(WILDCARD) * PATTERN_COST if WILDCARD in to else recipients
