"""Caller: on whose behalf a connection asks, and what it may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from raven import BusClient, ForbiddenError, InputError, parse_address


class Caller:
    """One connection's view of the bus.

    It acts as the address that it named in `hello`, or as the one address that its socket is bound to. On a bound
    socket every other address is refused, whatever the method.
    """

    def __init__(self, share: Callable[[str], BusClient], bound: Sequence[str], server: Any, connection: Any) -> None:
        self._share = share
        self.bound = tuple(bound)
        self.address: str | None = bound[0] if len(bound) == 1 else None
        self.server = server
        self.connection = connection

    def role(self, name: str, address: str | None) -> str:
        """Return the address that a parameter means; raises InputError where none is meant, or ForbiddenError."""
        if address is None:
            address = self.address
        if address is None:
            raise InputError(f"{name!r} is missing: give an address, or say `hello` with one first")
        return self.check(address)

    def optional_role(self, address: str | None) -> str | None:
        """Return the address that an optional parameter means, or None; raises ForbiddenError."""
        return self.address if address is None else self.check(address)

    def check(self, address: str) -> str:
        """Refuse what is no address, and one that this socket is not bound to."""
        parse_address(address)
        if self.bound and address not in self.bound:
            raise ForbiddenError(f"this socket acts as {', '.join(self.bound)} only, not as {address!r}")
        return address

    def client(self, name: str, address: str | None) -> BusClient:
        """Return the client that writes as the address that a parameter means."""
        if address is None or self.bound:
            address = self.role(name, address)
        return self._share(address)  # which parses it, the first time

    def scope(self, role: str | list[str] | None) -> list[str] | None:
        """Return what a view of the log is narrowed to: roles that were asked for, or those of a bound socket."""
        if role is not None:
            return list(dict.fromkeys(self.check(address) for address in ([role] if isinstance(role, str) else role)))
        return list(self.bound) or None
