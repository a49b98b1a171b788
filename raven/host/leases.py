"""Leases: what was handed out and is not finished, by consumer, and over all consumers of a host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from raven.model.message import Message

# Of what was handed out and never finished, so much is remembered: the oldest leases have ended long ago.
MAX_REMEMBERED = 100_000


class Leases:
    """The leases of one consumer, so that a late `ack` is refused where the lease has passed to another.

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


class Holder(Protocol):
    """A subscription whose window messages fill until they are acked."""

    lease: int | None

    def release(self, message_id: int) -> None:
        """Note that there is room for another message."""


class Unacked:
    """What subscriptions of a host were pushed and have not acked, each with the one that holds it.

    An ack may come by any connection, and makes room in the window of the subscription that was pushed the message.
    Used on the event loop only.
    """

    def __init__(self) -> None:
        self._holders: dict[tuple[str, int], Holder] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def hold(self, role: str, message_id: int, holder: Holder) -> None:
        """Note which subscription a message was pushed to."""
        self._holders[role, message_id] = holder

    def release(self, role: str, message_id: int, lease: int | None = None) -> None:
        """Note that a message is finished, or given back, for the subscription that holds it, if under this lease."""
        holder = self._holders.get((role, message_id))
        if holder is not None and lease in (None, holder.lease):
            del self._holders[role, message_id]
            holder.release(message_id)

    def drop(self, role: str, message_ids: Iterable[int], holder: Holder) -> None:
        """Forget what a subscription holds no more; what another was pushed meanwhile stays."""
        for message_id in message_ids:
            if self._holders.get((role, message_id)) is holder:
                del self._holders[role, message_id]
