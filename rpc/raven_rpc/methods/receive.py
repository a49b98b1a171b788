"""Receive: the methods that take, finish and give back what waits for an address."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from raven.client import BusClient
from raven.errors import LeaseLostError
from raven.model.limits import check_lease, check_max
from raven.model.message import Message
from raven_rpc.methods import params
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Work

# So much of bodies is answered at once; what an inbox holds beyond it is shown when the first are acked.
MAX_PAGE_BYTES = 16 * 1024 * 1024


class _Change(NamedTuple):
    """A change of one delivery that was made: whose, under which lease, and what it came to."""

    role: str
    lease: int | None
    value: Any


def as_messages(messages: list[Message]) -> dict[str, Any]:
    """Return messages as an answer holds them."""
    return {"messages": [message.as_dict() for message in messages]}


def inbox(context: Context, given: params.Inbox) -> Work:
    """Show what an address has not acked, by urgency, then id; marks first sight as delivered, unless peeking."""
    check_max(given.max)
    role = context.role("role", given.role)
    bus = context.reader.for_address(role, register=False) if given.peek else context.client("role", role)
    return Work(
        "read" if given.peek else "write",
        lambda: bus.inbox(given.max, given.peek, max_bytes=MAX_PAGE_BYTES),
        as_messages,
        weight=given.max,
    )


def claim(context: Context, given: params.Claim) -> Work:
    """Take ready messages under a lease, by urgency, then id: ack each before that ends, or it is ready again."""
    check_max(given.max)
    check_lease(given.lease_s)
    bus = context.client("role", given.role)
    return Work(
        "write",
        lambda: bus.claim(given.max, given.lease_s, max_bytes=MAX_PAGE_BYTES, remember=False),
        as_messages,
        weight=given.max,
        on_success=partial(context.leases.remember, bus.address),
    )


def ack(context: Context, given: params.Ack) -> Work:
    """Finish one address's delivery of a message; twice is the same as once."""
    if given.subscription is not None:
        return _take(context, given.id, given.subscription)
    change = partial(BusClient.ack, id=given.id)
    return _change(context, given, change, lambda _: {"acked": [given.id]})


def _take(context: Context, message_id: int, subscription: int) -> Work:
    """Ack a message that a subscription of this connection has set apart, if it still has it."""
    push = context.subscriptions.mail(subscription)

    def take() -> None:
        try:
            push.take(message_id)
        except LeaseLostError:  # that makes room, too
            context.lost(push.role, message_id)
            raise

    return Work(
        "write",
        take,
        lambda _: {"acked": [message_id]},
        on_success=lambda _: context.host.unacked.release(push.role, message_id),
    )


def nack(context: Context, given: params.Nack) -> Work:
    """Give a message back, ready for anyone at once or after a delay, saying why; at its last attempt it is dead."""
    change = partial(BusClient.nack, id=given.id, delay_s=given.delay_s, reason=given.reason)
    return _change(context, given, change, lambda made: {"nacked": given.id, "state": made.value})


def extend(context: Context, given: params.Extend) -> Work:
    """Let the lease of a message end later: so many seconds from now."""
    check_lease(given.lease_s)
    change = partial(BusClient.extend, id=given.id, lease_s=given.lease_s)
    return _change(context, given, change, lambda _: {"extended": given.id}, ends=False)


def _change(
    context: Context,
    given: params.Ack | params.Nack | params.Extend,
    change: Callable[..., Any],
    answer: Callable[[_Change], dict[str, Any]],
    *,
    ends: bool = True,
) -> Work:
    """Change one delivery, under the lease that was given, or the one that this connection was handed it under."""
    role = context.optional_role(given.role)
    bus, leases = context.writer, context.leases

    def run() -> _Change:
        if context.bound:
            context.visible(bus, given.id, role)
        owner = context.only_recipient(bus, given.id) if role is None else role
        lease = leases.of(owner, given.id) if given.lease is None else given.lease
        try:
            return _Change(owner, lease, change(context.host.for_address(owner), lease=lease))
        except LeaseLostError:
            if lease is not None:
                context.lost(owner, given.id, lease)
            raise

    def end(made: _Change) -> None:
        context.finished(made.role, given.id, made.lease)

    return Work("write", run, answer, on_success=end if ends else None)
