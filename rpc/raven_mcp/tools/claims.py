"""Claims: the messages that a session holds at an address which it shares, so that no other session gets them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from raven.errors import DeliveryError, NotFoundError, RavenError

if TYPE_CHECKING:
    from raven.model.message import Message
    from raven_mcp.session.session import Session

# The mail of a killed session is ready for the others after this time.
LEASE_S = 60.0
_RENEW_S = 20.0


class Claims:
    """The claimed messages of this session; `tick` renews their leases, `release` gives them back."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held: dict[int, Message] = {}
        self._held_at: tuple[str, int] | None = None
        self._renew_at = 0.0

    def __contains__(self, id: int) -> bool:
        return any(message.id == id for message in self.held())

    def held(self) -> list[Message]:
        """Return the messages in hand, in the order in which they were claimed."""
        bus = self._session.bus
        now_at = bus.address, bus._store.replaced
        if self._held_at != now_at:  # leases at another address, or in another file, end by themselves
            self._held_at = now_at
            self._held.clear()
        return list(self._held.values())

    def claim(self, most: int) -> list[Message]:
        """Claim up to `most` more messages, and return them."""
        claimed = self._session.bus.claim(most, LEASE_S)
        if claimed and not self.held():
            self._renew_at = time.monotonic() + _RENEW_S
        self._held.update((message.id, message) for message in claimed)
        return claimed

    def forget(self, ids: Iterable[int]) -> None:
        """Forget messages that are finished or given back."""
        for id in ids:
            self._held.pop(id, None)

    def tick(self) -> None:
        """Renew the leases now and then; a message whose lease was lost is in other hands, and is forgotten."""
        if self._held and self.held() and time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + _RENEW_S
            with self._session.bus.transaction() as tx:
                for message in self.held():
                    try:
                        tx.extend(message.id, LEASE_S)
                    except (DeliveryError, NotFoundError):
                        self._held.pop(message.id, None)

    def release(self) -> None:
        """Give all messages back; if that cannot be done now, the leases end by themselves."""
        if not self._held:
            return
        with suppress(RavenError), self._session.bus.transaction() as tx:
            for message in self.held():
                with suppress(DeliveryError, NotFoundError):
                    tx.nack(message.id)
        self._held.clear()
