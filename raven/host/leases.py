"""Leases: the messages in flight, by consumer, and over all consumers of a host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from raven.model.message import Message

# At most this many unfinished leases are remembered per consumer: older ones ended long ago.
MAX_REMEMBERED = 100_000


class Leases:
    """The leases of one consumer: a late `ack` is refused if another consumer has leased the message since.

    A lease that has ended stays here until its message is finished, because a late `ack` needs it. The event loop
    writes, any thread may read.
    """

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, int], int] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def remember(self, role: str, messages: Iterable[Message]) -> None:
        """Remember the leases of messages that were delivered to an address."""
        for message in messages:
            if message.lease is not None:
                self._tokens.pop((role, message.id), None)
                self._tokens[role, message.id] = message.lease
        while len(self._tokens) > MAX_REMEMBERED:
            del self._tokens[next(iter(self._tokens))]

    def of(self, role: str, message_id: int) -> int | None:
        """Return the lease of a message that this consumer got for an address, or None."""
        return self._tokens.get((role, message_id))

    def forget(self, role: str, message_id: int, lease: int | None) -> None:
        """Forget the lease of a finished or released message; a later lease of the same message stays."""
        if lease is None or self._tokens.get((role, message_id)) == lease:
            self._tokens.pop((role, message_id), None)


class Holder(Protocol):
    """A subscription; unacked messages fill its window."""

    lease: int | None

    def release(self, message_id: int) -> None:
        """Note that a message no longer fills the window."""


class Unacked:
    """The unacked messages of all subscriptions of a host, each with the subscription that holds it.

    An ack may come over any connection, and frees a slot in the window of the subscription that holds the message. Use
    it on the event loop only.
    """

    def __init__(self) -> None:
        self._holders: dict[tuple[str, int], Holder] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def hold(self, role: str, message_id: int, holder: Holder) -> None:
        """Remember the subscription that holds a message."""
        self._holders[role, message_id] = holder

    def release(self, role: str, message_id: int, lease: int | None = None) -> None:
        """Tell the holder that a message is finished or released; with `lease`, only if the holder has this lease."""
        holder = self._holders.get((role, message_id))
        if holder is not None and lease in (None, holder.lease):
            del self._holders[role, message_id]
            holder.release(message_id)

    def drop(self, role: str, message_ids: Iterable[int], holder: Holder) -> None:
        """Forget messages of one holder; messages that another subscription holds by now stay."""
        for message_id in message_ids:
            if self._holders.get((role, message_id)) is holder:
                del self._holders[role, message_id]
