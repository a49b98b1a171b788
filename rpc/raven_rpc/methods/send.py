"""Send: the methods that put messages on the bus."""

from __future__ import annotations

from functools import partial
from typing import Any

from raven.host.admission import PATTERN_COST
from raven.host.bus import HostedBus
from raven.model.address import WILDCARD
from raven.model.limits import MAX_PAGE_BYTES
from raven.model.message import Message, json_size
from raven.model.new_message import NewMessage
from raven_rpc.jsonrpc.messages import encode
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
    weight = _weight_of(message)
    if WILDCARD in message.row.to:
        run = partial(_send_within, context, bus, [message])
        return Work("write", run, lambda sent: sent[0].as_dict(), weight=weight, is_page=True)
    return Work("write", lambda: bus.send_prepared_one(message), Message.as_dict, weight=weight)


def send_many(context: Context, args: params.SendMany) -> Work:
    """Send messages in one transaction: all of them or none."""
    bus = context.client("from", args.from_)
    messages = [bus.prepare(**content.send_kwargs()) for content in args.contents()]
    weight, is_page = sum(map(_weight_of, messages)), _may_be_long(messages)
    run = partial(_send_within, context, bus, messages) if is_page else partial(bus.send_prepared, messages)
    return Work("write", run, as_messages, weight=weight, is_page=is_page)


def reply(context: Context, args: params.Reply) -> Work:
    """Reply to a message: to the address where its sender waits for the reply, or else to the sender."""
    bus = context.client("from", args.from_)

    def send_reply() -> Message:
        request = context.writer_view.read_head(args.id)
        return bus.send_prepared_one(bus.prepare_reply(request, **args.send_kwargs()))

    return Work("write", send_reply, Message.as_dict, weight=1 + _weight_of_body(args.body))


def request(context: Context, args: params.Request) -> Work:
    """Send a message, wait for the reply to it, and return that reply, acked; later requests overtake this one."""
    pending = context.client("from", args.from_).pending_request(timeout_s=args.timeout_s, **args.send_kwargs())
    return Work(
        "write",
        pending.send,
        Message.as_dict,
        deferred=lambda _: context.deferred.for_reply(pending, args.timeout_s),
        weight=_weight_of_body(args.body)
        + (_weight(1, args.to) if isinstance(args.to, str) else _weight(len(args.to), "".join(args.to))),
    )


def _send_within(context: Context, bus: HostedBus, messages: list[NewMessage]) -> list[Message]:
    """Send messages in one transaction, or raise LimitError if the answer would be too long."""
    # A message whose key was used before has any length: with keys it is one message at a time.
    step = 1 if any(message.row.dedup_key is not None for message in messages) else len(messages)
    sent: list[Message] = []
    size = 0
    with bus.atomic():
        for start in range(0, len(messages), step):
            part = bus.send_prepared(messages[start : start + step])
            size += sum(len(encode(message.as_dict())) for message in part)
            context.check_answer(size)
            sent += part
    return sent


def _may_be_long(messages: list[NewMessage]) -> bool:
    """Whether the answer to `send_many` may be longer than a page; patterns and used keys make it of any length."""
    size = 0
    for message in messages:
        row = message.row
        if row.dedup_key is not None or WILDCARD in row.to:
            return True
        # The answer names each recipient once more, with whether a consumer waits there.
        size += json_size(row) + 6 * len(row.to) + 10 * len(message.targets)
    return size > MAX_PAGE_BYTES


def _weight_of(message: NewMessage) -> int:
    """Return about how many deliveries a message makes; a long body, or a pattern, weighs as much as many."""
    return _weight(len(message.targets), message.row.to) + len(message.row.body) // _BYTES_PER_WEIGHT


def _weight_of_body(body: Any) -> int:
    """Return about how many deliveries a body weighs as much as, before it is checked."""
    try:
        return len(body if isinstance(body, str) else encode(body)) // _BYTES_PER_WEIGHT
    except RecursionError:
        return 0  # it is refused later


def _weight(recipients: int, to: str) -> int:
    return recipients + to.count(WILDCARD) * PATTERN_COST if WILDCARD in to else recipients
