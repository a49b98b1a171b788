"""Intake: the mail that comes, as envelopes for the store thread, and no more at once than there is room for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from raven.link.envelope import Mailroom
from raven.link.relay.work import Arrival
from raven.link.settings import is_name

if TYPE_CHECKING:
    from raven.link.pull import Parcel, Pull

# So many bytes of envelopes, inflated, may wait for the store thread before another one is opened.
_MAX_WAITING = 64 << 20


class Intake:
    """Opens the envelopes that other hosts have sent to `host`, and gives each to the store thread.

    `give` is called with the sender and its envelope, and `wake` when the store thread must look at what was given. An
    envelope takes room until `ack`. While those under way have more than 64 MiB, inflated, no further one is opened:
    so a host that sends small messages which inflate to large ones fills no memory.
    """

    def __init__(
        self, pull: Pull, host: str, give: Callable[[str, Arrival], None], wake: Callable[[], None] = lambda: None
    ) -> None:
        self._pull = pull
        self._host = host
        self._give = give
        self._wake = wake
        self._mailroom: Mailroom[Parcel] = Mailroom()
        self._waiting = 0
        self._has_room = asyncio.Event()

    @property
    def dropped(self) -> Counter[str]:
        """The envelopes and parts that were dropped, by reason."""
        return self._mailroom.dropped

    async def run(self) -> None:
        """Take mail until the pull is closed."""
        async for parcels in self._pull:
            useless = self._mailroom.take_abandoned(time.monotonic())
            for parcel in parcels:
                if self._waiting > _MAX_WAITING:
                    self._wake()
                    await self._pull.ack(useless)
                    useless = []
                    await self._wait_for_room()
                useless += self._open(parcel)
            self._wake()
            await self._pull.ack(useless)

    async def ack(self, arrivals: Sequence[Arrival]) -> None:
        """Tell JetStream that these envelopes are committed, and make room for others."""
        for arrival in arrivals:
            await self._pull.ack(arrival.parcels)
            self._waiting -= arrival.size
        self._has_room.set()

    async def _wait_for_room(self) -> None:
        while self._waiting > _MAX_WAITING:
            self._has_room.clear()
            await self._has_room.wait()

    def _open(self, parcel: Parcel) -> list[Parcel]:
        """Give the envelope that is whole with this parcel; return the parcels of no use, which need only be acked."""
        if not is_name(parcel.sender) or parcel.sender == self._host:
            return [parcel]
        received = self._mailroom.add(parcel.sender, parcel.data, parcel.headers, parcel, time.monotonic())
        if received is None:
            return []
        if received.envelope is None:
            return received.handles
        self._waiting += received.size
        self._give(parcel.sender, Arrival(received.envelope, received.handles, received.size))
        return []
