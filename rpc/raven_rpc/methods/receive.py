"""Receive: the methods that show, claim, ack and release the messages of an address."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from raven.client import BusClient
from raven.errors import LeaseLostError
from raven.model.clock import isoformat, optional_from_micros
from raven.model.limits import check_lease, check_max
from raven.model.message import Message
from raven_rpc.methods import params
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Work


class _Change(NamedTuple):
    """A change of one delivery: the owner's address, the lease, and the value that the change returned."""

    role: str
    lease: int | None
    value: Any


def as_messages(messages: list[Message]) -> dict[str, Any]:
    """Return messages as a JSON result."""
    return {"messages": [message.as_dict() for message in messages]}


def inbox(context: Context, args: params.Inbox) -> Work:
    """Return the unacked messages of an address, by urgency, then id; unless `peek`, marks them as delivered."""
    check_max(args.max)
    role = context.role("role", args.role)
    bus = context.reader.for_address(role, register=False) if args.peek else context.client("role", role)
    return Work(
        "read" if args.peek else "write",
        lambda: bus.inbox(args.max, args.peek, max_bytes=context.page_bytes(is_write=not args.peek)),
        as_messages,
        weight=args.max,
        is_page=True,
    )


def claim(context: Context, args: params.Claim) -> Work:
    """Lease ready messages, by urgency, then id. Ack each before its lease ends, or it is ready again."""
    check_max(args.max)
    check_lease(args.lease_s)
    bus = context.client("role", args.role)
    return Work(
        "write",
        lambda: bus.claim(args.max, args.lease_s, max_bytes=context.page_bytes(), remember=False),
        as_messages,
        weight=args.max,
        on_success=partial(context.leases.remember, bus.address),
        is_page=True,
    )


def ack(context: Context, args: params.Ack) -> Work:
    """Finish one address's delivery of a message; idempotent."""
    if args.subscription is not None:
        return _consume(context, args.id, args.subscription)
    change = partial(BusClient.ack, id=args.id)
    return _change(context, args, change, lambda _: {"acked": [args.id]})


def _consume(context: Context, message_id: int, subscription: int) -> Work:
    """Ack a message that a subscription of this connection has prefetched, if it still holds the lease."""
    push = context.subscriptions.mail(subscription)

    def consume() -> None:
        try:
            push.consume(message_id)
        except LeaseLostError:  # frees capacity, too
            context.writer.after_commit(partial(context.lost, push.role, message_id))
            raise

    return Work(
        "write",
        consume,
        lambda _: {"acked": [message_id]},
        on_success=lambda _: context.host.unacked.release(push.role, message_id),
    )


def held(context: Context, args: params.OneSubscription) -> Work:
    """List the unacked messages that a subscription of this connection still holds, and until when at least."""
    push = context.subscriptions.mail(args.subscription)

    def to_result(ends: dict[int, int]) -> dict[str, Any]:
        until = optional_from_micros(min(ends.values(), default=None))
        return {"held": sorted(ends), "leased_until": isoformat(until)}

    return Work("write", push.held, to_result, on_success=partial(push.on_held, push.unacked()))


def nack(context: Context, args: params.Nack) -> Work:
    """Release a message: it is ready at once or after a delay. After its last attempt it is dead."""
    change = partial(BusClient.nack, id=args.id, delay_s=args.delay_s, reason=args.reason)
    return _change(context, args, change, lambda change: {"nacked": args.id, "state": change.value})


def extend(context: Context, args: params.Extend) -> Work:
    """Let the lease of a message end `lease_s` seconds from now."""
    check_lease(args.lease_s)
    change = partial(BusClient.extend, id=args.id, lease_s=args.lease_s)
    return _change(context, args, change, lambda _: {"extended": args.id}, ends=False)


def _change(
    context: Context,
    args: params.Ack | params.Nack | params.Extend,
    change: Callable[..., Any],
    to_result: Callable[[_Change], dict[str, Any]],
    *,
    ends: bool = True,
) -> Work:
    """Change one delivery, under the lease of the request, or the one that this connection remembers."""
    role = context.address_or_none(args.role)
    bus, leases = context.writer, context.leases

    def run() -> _Change:
        if context.bound:
            context.writer_view.require(args.id)
        owner = context.sole_recipient(args.id) if role is None else role
        lease = leases.of(owner, args.id) if args.lease is None else args.lease
        try:
            return _Change(owner, lease, change(context.host.for_address(owner), lease=lease))
        except LeaseLostError:
            if lease is not None:
                bus.after_commit(partial(context.lost, owner, args.id, lease))
            raise

    def end(change: _Change) -> None:
        context.finished(change.role, args.id, change.lease)

    return Work("write", run, to_result, on_success=end if ends else None)
