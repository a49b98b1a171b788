"""Holdings: which messages a client has claimed and not finished, and under which lease."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from raven.message import Message

# Of what was claimed and never finished, so much is remembered: the oldest leases have ended long ago.
_MAX_REMEMBERED = 100_000


class Holdings:
    """The leases of one client, so that `ack(id)` can be refused where the lease has passed to another."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._leases: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        self._full: set[int] = set()

    def remember(self, messages: Iterable[Message]) -> None:
        """Note what was claimed."""
        with self._guard:
            for message in messages:
                if message.lease is not None:
                    self._drop(message.id)
                    self._leases[message.id] = message.lease
                    self._counts[message.lease] = self._counts.get(message.lease, 0) + 1
            while len(self._leases) > _MAX_REMEMBERED:
                self._drop(next(iter(self._leases)))

    def lease_of(self, message_id: int) -> int | None:
        """Return the token of the lease under which this client has claimed a message, None where it has not."""
        return self._leases.get(message_id)

    def is_full(self, token: int, most: int) -> bool:
        """Whether so many messages are held under a lease; then `forget` tells when that changes."""
        with self._guard:
            if self._counts.get(token, 0) < most:
                return False
            self._full.add(token)
            return True

    def forget(self, message_id: int) -> bool:
        """Note that a message is finished or was given back; returns whether a loop waits for room."""
        with self._guard:
            return self._drop(message_id)

    def forget_all(self, token: int) -> None:
        """Note that nothing is held under a lease any more."""
        with self._guard:
            for message_id in [held for held, lease in self._leases.items() if lease == token]:
                self._drop(message_id)
            self._full.discard(token)

    def _drop(self, message_id: int) -> bool:
        token = self._leases.pop(message_id, None)
        if token is None:
            return False
        self._counts[token] -= 1
        if not self._counts[token]:
            del self._counts[token]
        waits = token in self._full
        self._full.discard(token)
        return waits
