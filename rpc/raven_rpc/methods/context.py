"""Context: the identity and the rights of a connection, and the objects that its methods use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from raven.errors import ForbiddenError, InputError, LimitError, MessageNotFoundError, abbreviate
from raven.host.bus import HostedBus
from raven.host.deferred import DeferredSet
from raven.host.host import Host
from raven.host.leases import Leases
from raven.host.subscriptions import Subscriptions
from raven.model.address import parse_address
from raven.model.limits import MAX_PAGE_BYTES
from raven.model.message import Message


class Facts(Protocol):
    """Facts about the program that serves the methods."""

    @property
    def description(self) -> dict[str, Any]:
        """The OpenRPC document of all its methods."""

    def stats(self) -> dict[str, Any]:
        """Return its counters since its start, and the numbers of waiting requests."""


class Context:
    """One connection's view of the bus.

    It acts as the address that it named in `hello`, or as the one address that its socket is bound to. On a bound
    socket every method refuses other addresses.
    """

    def __init__(
        self,
        host: Host,
        facts: Facts,
        *,
        bound: Sequence[str] = (),
        leases: Leases,
        subscriptions: Subscriptions,
        deferred: DeferredSet,
    ) -> None:
        self.host = host
        self.facts = facts
        self.bound = tuple(bound)
        self.address: str | None = bound[0] if len(bound) == 1 else None
        self.leases = leases
        self.subscriptions = subscriptions
        self.deferred = deferred
        self.writer = host.writer_bus
        self.reader = host.reader_bus
        self.admin = host.admin_bus

    # Addresses

    def role(self, name: str, address: str | None) -> str:
        """Return a parameter's address, or the connection's; raises InputError if both are None, or ForbiddenError."""
        if address is None:
            address = self.address
        if address is None:
            raise InputError(f"{abbreviate(name)} is missing: give an address, or call `hello` with one first")
        return self.check(address)

    def address_or_none(self, address: str | None) -> str | None:
        """Return an optional parameter's address, or the connection's, or None; raises ForbiddenError."""
        return self.address if address is None else self.check(address)

    def check(self, address: str) -> str:
        """Return the address; raises AddressError if it is invalid, ForbiddenError if the socket is not bound to it."""
        parse_address(address)
        if self.bound and address not in self.bound:
            raise ForbiddenError(f"this socket acts as {', '.join(self.bound)} only, not as {abbreviate(address)}")
        return address

    def client(self, name: str, address: str | None) -> HostedBus:
        """Return the client that writes as a parameter's address, or as the connection's."""
        if address is None or self.bound:
            address = self.role(name, address)
        return self.host.for_address(address)  # parses a new address

    def allowed(self, role: str | list[str] | None) -> list[str] | None:
        """Return the addresses whose messages a view of the log shows: those requested, or the bound ones, or None."""
        if role is not None:
            return list(dict.fromkeys(self.check(address) for address in ([role] if isinstance(role, str) else role)))
        return list(self.bound) or None

    # Messages: these read the store, over one of the connections of the host

    def read_as(self, bus: HostedBus, message_id: int, role: str | None) -> Message:
        """Read a message as `role`; on a bound socket only messages from or to its addresses exist."""
        whole = bus.read_whole(message_id)
        recipients = bus.recipients(message_id)
        if self.bound and whole.sender not in self.bound and not set(self.bound) & set(recipients):
            raise MessageNotFoundError(f"there is no message #{message_id}: it was never sent, or it was pruned")
        return bus.for_address(role, register=False).read(message_id) if role in recipients else whole

    def sole_recipient(self, bus: HostedBus, message_id: int) -> str:
        """Return the only recipient of a message, or the only bound one; raises InputError if there are several."""
        self.read_as(bus, message_id, None)
        recipients = [address for address in bus.recipients(message_id) if not self.bound or address in self.bound]
        if len(recipients) != 1:
            names = ", ".join(recipients[:5]) + (", ..." if len(recipients) > 5 else "") or "no address of this socket"
            raise InputError(f"message #{message_id} went to {names}: give the acking address as role")
        return recipients[0]

    # Answers: call these in the thread of the writer, while it runs a request

    def page_bytes(self, *, is_write: bool = True) -> int:
        """Return how long the messages may be that a request returns; shorter at the end of a long batch."""
        return min(MAX_PAGE_BYTES, self.host.admission.answer_bytes) if is_write else MAX_PAGE_BYTES

    def check_answer(self, size: int) -> None:
        """Raise LimitError, inside a transaction, if its answer would be too long; it is then rolled back."""
        if size > self.host.admission.answer_bytes:
            raise LimitError(
                f"the answer would be over {self.host.admission.answer_bytes:,} bytes; nothing was done: ask for less "
                "at once"
            )

    # Deliveries

    def finished(self, role: str, message_id: int, lease: int | None) -> None:
        """Forget the lease of a finished or released delivery. Call it on the event loop."""
        self.leases.forget(role, message_id, lease)
        self.host.unacked.release(role, message_id)

    def lost(self, role: str, message_id: int, lease: int | None = None) -> None:
        """Free the window slot of a subscription that has lost the lease of a message. Any thread may call it."""
        self.host.loop.call_soon_threadsafe(self.host.unacked.release, role, message_id, lease)
