"""Leases: under which lease a connection was handed what it has not finished."""

from __future__ import annotations

from collections.abc import Iterable

from raven import Message

# Of what was handed out and never finished, so much is remembered: the oldest leases have ended long ago.
MAX_REMEMBERED = 100_000


class Leases:
    """The leases of one connection, so that a late `ack` is refused where the lease has passed to another.

    Also one that has ended stays here until its message is finished: just then it matters. The event loop writes it,
    any thread may read it.
    """

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, int], int] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def remember(self, role: str, messages: Iterable[Message]) -> None:
        """Note what was handed out to an address under a lease."""
        for message in messages:
            if message.lease is not None:
                self._tokens.pop((role, message.id), None)
                self._tokens[role, message.id] = message.lease
        while len(self._tokens) > MAX_REMEMBERED:
            del self._tokens[next(iter(self._tokens))]

    def of(self, role: str, message_id: int) -> int | None:
        """Return the lease under which a message was handed out here to an address, None where it was not."""
        return self._tokens.get((role, message_id))

    def forget(self, role: str, message_id: int, lease: int | None) -> None:
        """Note that a message is finished, or was given back, under a lease; one that came later stays."""
        if lease is None or self._tokens.get((role, message_id)) == lease:
            self._tokens.pop((role, message_id), None)
