"""Context: the identity and the rights of a connection, and the objects that its methods use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from raven.errors import ForbiddenError, InputError, LimitError, abbreviate
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
        # The connections for reads: on a bound socket they show only what its addresses may see.
        self.reader = self.view(host.reader_bus)
        self.writer_view = self.view(host.writer_bus)
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
            raise ForbiddenError(f"this server acts as {', '.join(self.bound)} only, not as {abbreviate(address)}")
        return address

    def client(self, name: str, address: str | None) -> HostedBus:
        """Return the client that writes as a parameter's address, or as the connection's."""
        if address is None or self.bound:
            address = self.role(name, address)
        return self.host.for_address(address)  # parses a new address

    def view(self, bus: HostedBus, role: str | list[str] | None = None) -> HostedBus:
        """Return a client for reads: of what `role` may see on a bound socket, by default its addresses; else of all.

        Raises ForbiddenError for an address that the socket is not bound to.
        """
        return bus.scoped(self.checked(role) or self.bound) if self.bound else bus

    def filter(self, role: str | list[str] | None) -> list[str] | None:
        """Return the addresses that narrow an unbound view of the log; a bound view is narrow already."""
        return None if self.bound else self.checked(role)

    def checked(self, role: str | list[str] | None) -> list[str] | None:
        """Return an optional parameter of one or several addresses as a list, or None; raises ForbiddenError."""
        if role is None:
            return None
        return list(dict.fromkeys(self.check(address) for address in ([role] if isinstance(role, str) else role)))

    # Messages: these read the store, over one of the connections of the host

    def read_as(self, view: HostedBus, message_id: int, role: str | None) -> Message:
        """Read a message as `role`, or as a whole if `role` is None or not a recipient."""
        if role is None:
            return view.read_whole(message_id)
        return view.for_address(role, register=False).read(message_id)

    def sole_recipient(self, message_id: int) -> str:
        """Return the only recipient of a message, or the only bound one; raises InputError if there are several."""
        recipients = [
            address for address in self.writer_view.recipients(message_id) if not self.bound or address in self.bound
        ]
        if len(recipients) != 1:
            names = ", ".join(recipients[:5]) + (", ..." if len(recipients) > 5 else "") or "no address of this server"
            raise InputError(f"message #{message_id} went to {names}: give the acking address as role")
        return recipients[0]

    # Answers: call these in the thread of the writer, while it runs a request

    def page_bytes(self, *, is_write: bool = True) -> int:
        """Return how long the messages may be that a request returns; shorter at the end of a long batch."""
        if not is_write:
            return MAX_PAGE_BYTES
        return self.host.writer.page_bytes(min(MAX_PAGE_BYTES, self.host.admission.answer_bytes))

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
