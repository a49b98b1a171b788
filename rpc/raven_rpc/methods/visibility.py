"""Visibility: which messages there are for a caller, and whose delivery of one is meant."""

from __future__ import annotations

from raven import BusClient, BusObserver, InputError, Message, MessageNotFoundError


def visible(bus: BusClient, message_id: int, role: str | None, bound: tuple[str, ...]) -> Message:
    """Read a message as `role`; on a bound socket, as if what is neither from nor to its addresses did not exist."""
    whole = BusObserver.read(bus, message_id)
    recipients = bus.recipients(message_id)
    if bound and whole.sender not in bound and not set(bound) & set(recipients):
        raise MessageNotFoundError(f"there is no message #{message_id}: it never was, or it was pruned")
    return bus.share(role, register=False).read(message_id) if role in recipients else whole


def only_recipient(bus: BusClient, message_id: int, bound: tuple[str, ...]) -> str:
    """Return the one address that a message went to, of those of a bound socket; raises InputError for several."""
    visible(bus, message_id, None, bound)
    recipients = [address for address in bus.recipients(message_id) if not bound or address in bound]
    if len(recipients) != 1:
        shown = ", ".join(recipients[:5]) + (", ..." if len(recipients) > 5 else "") or "nobody of this socket"
        raise InputError(f"message #{message_id} went to {shown}: say for whom you ack, with role")
    return recipients[0]
