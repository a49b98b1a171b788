"""Leases: which messages a client holds under which lease, and which spans and tokens a lease takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from raven.model.message import Message

# Of what was claimed and never finished, so much is remembered: the oldest leases have ended long ago.
_MAX_REMEMBERED = 100_000


class Room:
    """What one loop holds under its lease; `is_awaited` while the loop waits for it to become less."""

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self.is_awaited = False


class Holdings:
    """The leases of one client, so that `ack(id)` can be refused where the lease has passed to another.

    Without a lock: a finalizer or a signal handler may come here at any moment, and each step is whole by itself.
    """

    def __init__(self) -> None:
        self._leases: dict[int, int] = {}
        self._rooms: dict[int, Room] = {}

    def open_room(self, token: int) -> Room:
        """Return what is held under a lease from now on."""
        room = self._rooms[token] = Room()
        return room

    def close_room(self, token: int) -> None:
        """Forget all that is held under a lease."""
        room = self._rooms.pop(token, Room())
        for message_id in room.ids.copy():
            if self._leases.get(message_id) == token:
                self._leases.pop(message_id, None)

    def remember(self, messages: Iterable[Message]) -> None:
        """Note what was claimed."""
        for message in messages:
            if message.lease is None:
                continue
            if self._rooms:
                self._leave(message.id)
            self._leases[message.id] = message.lease
            room = self._rooms.get(message.lease)
            if room is not None:
                room.ids.add(message.id)
        while len(self._leases) > _MAX_REMEMBERED:
            with suppress(RuntimeError, StopIteration):  # another thread changes it just now
                self._leases.pop(next(iter(self._leases)), None)

    def restore(self, before: Mapping[int, int | None]) -> None:
        """Note that what was claimed was not, after all; these were the leases before."""
        for message_id, token in before.items():
            self._leave(message_id)
            if token is None:
                self._leases.pop(message_id, None)
            else:
                self._leases[message_id] = token

    def lease_of(self, message_id: int) -> int | None:
        """Return the token of the lease under which this client has claimed a message, None where it has not."""
        return self._leases.get(message_id)

    def forget(self, message_id: int, token: int | None = None) -> bool:
        """Note that a message was finished or given back; returns whether a loop waits for that.

        With the `token` of a lease, nothing is noted of a message that was claimed anew since.
        """
        if token is not None and self._leases.get(message_id) != token:
            return False
        waits = bool(self._rooms) and self._leave(message_id)
        self._leases.pop(message_id, None)
        return waits

    def lose(self, message_id: int, token: int | None = None) -> bool:
        """Note that a lease has passed to another, which an ack must still be told; returns whether a loop waits.

        With the `token` of a lease, nothing is noted of a message that was claimed anew since.
        """
        return (token is None or self._leases.get(message_id) == token) and self._leave(message_id)

    def _leave(self, message_id: int) -> bool:
        token = self._leases.get(message_id)
        room = None if token is None else self._rooms.get(token)
        if room is None:
            return False
        room.ids.discard(message_id)
        waits, room.is_awaited = room.is_awaited, False
        return waits
