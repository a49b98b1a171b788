"""Deliveries: the methods that take, finish and give back what waits for an address."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from raven import BusClient, LeaseLostError, Message, check_lease, check_max
from raven_rpc.methods import params
from raven_rpc.methods.caller import Caller
from raven_rpc.methods.visibility import only_recipient, visible
from raven_rpc.server.worker import Work

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


def inbox(caller: Caller, given: params.Inbox) -> Work:
    """Show what an address has not acked, by urgency, then id; marks first sight as delivered, unless peeking."""
    check_max(given.max)
    role = caller.role("role", given.role)
    bus = caller.server.reader_bus.share(role, register=False) if given.peek else caller.client("role", role)
    return Work(
        "read" if given.peek else "write",
        lambda: bus.inbox(given.max, given.peek, max_bytes=MAX_PAGE_BYTES),
        as_messages,
        weight=given.max,
    )


def claim(caller: Caller, given: params.Claim) -> Work:
    """Take ready messages under a lease, by urgency, then id: ack each before that ends, or it is ready again."""
    check_max(given.max)
    check_lease(given.lease_s)
    bus = caller.client("role", given.role)
    return Work(
        "write",
        lambda: bus.claim(given.max, given.lease_s, max_bytes=MAX_PAGE_BYTES, remember=False),
        as_messages,
        weight=given.max,
        at_once=partial(caller.connection.leases.remember, bus.address),
    )


def ack(caller: Caller, given: params.Ack) -> Work:
    """Finish one address's delivery of a message; twice is the same as once."""
    if given.subscription is not None:
        return _take(caller, given.id, given.subscription)
    change = partial(BusClient.ack, id=given.id)
    return _change(caller, given, change, lambda _: {"acked": [given.id]})


def _take(caller: Caller, message_id: int, subscription: int) -> Work:
    """Ack a message that a subscription of this connection has set apart, if it still has it."""
    server, pusher = caller.server, caller.connection.subscriptions.mail(subscription)

    def take() -> None:
        try:
            pusher.take(message_id)
        except LeaseLostError:  # that makes room, too
            server.loop.call_soon_threadsafe(server.release, pusher.role, message_id)
            raise

    return Work(
        "write",
        take,
        lambda _: {"acked": [message_id]},
        at_once=lambda _: server.release(pusher.role, message_id),
    )


def nack(caller: Caller, given: params.Nack) -> Work:
    """Give a message back, ready for anyone at once or after a delay, saying why; at its last attempt it is dead."""
    change = partial(BusClient.nack, id=given.id, delay_s=given.delay_s, reason=given.reason)
    return _change(caller, given, change, lambda made: {"nacked": given.id, "state": made.value})


def extend(caller: Caller, given: params.Extend) -> Work:
    """Let the lease of a message end later: so many seconds from now."""
    check_lease(given.lease_s)
    change = partial(BusClient.extend, id=given.id, lease_s=given.lease_s)
    return _change(caller, given, change, lambda _: {"extended": given.id}, ends=False)


def _change(
    caller: Caller,
    given: params.Ack | params.Nack | params.Extend,
    change: Callable[..., Any],
    answer: Callable[[_Change], dict[str, Any]],
    *,
    ends: bool = True,
) -> Work:
    """Change one delivery, under the lease that was given, or the one that this connection was handed it under."""
    role = caller.optional_role(given.role)
    bus, server, leases = caller.server.writer_bus, caller.server, caller.connection.leases

    def run() -> _Change:
        if caller.bound:
            visible(bus, given.id, role, caller.bound)
        owner = only_recipient(bus, given.id, caller.bound) if role is None else role
        lease = leases.of(owner, given.id) if given.lease is None else given.lease
        try:
            return _Change(owner, lease, change(server.share(owner), lease=lease))
        except LeaseLostError:
            if lease is not None:  # the subscription that had it has room again
                server.loop.call_soon_threadsafe(server.release, owner, given.id, lease)
            raise

    def end(made: _Change) -> None:
        leases.forget(made.role, given.id, made.lease)
        server.release(made.role, given.id)

    return Work("write", run, answer, at_once=end if ends else None)
