"""Outward: how far the frames for one host are published, and from where they must be published again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from raven.link.envelope import Parcel

# A first try again after so many seconds; each further one without progress waits twice as long.
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 30.0
_FIRST_AGAIN_S, _FIRST_GAP_S, _MAX_AGAIN_S = 4.0, 0.5, 60.0
# So many envelopes may wait for the server's answer at once.
_MAX_UNDER_WAY = 16


class Sent(NamedTuple):
    """One envelope that was published: the epoch of its frames, their first and last number, and when."""

    epoch: int
    first: int
    last: int
    at: float


class Posting(NamedTuple):
    """An envelope for a host, as messages of the server, and the note that belongs to it."""

    host: str
    parts: Sequence[Parcel]
    sent: Sent


class Outward:
    """The frames that go to one host, in order: a cursor, and the envelopes that the server has not answered for.

    Frames after `cursor` are to be published. It goes back if the server has not stored an envelope, and if the host
    says that it lacks a frame that was published long ago. A frame that arrives twice does no harm: the host drops it.
    Times are those of time.monotonic.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.epoch = 0
        self.cursor = 0
        self.again = 0  # how often the host lacked frames
        self.refused = 0  # how many envelopes the server has not stored
        self.wants_more = True  # whether frames after the cursor may be there
        self._under_way: set[Sent] = set()
        self._published: deque[Sent] = deque()
        self._paused_until = self._pause_s = 0.0
        self._heard, self._heard_since = -1, 0.0
        self._again_at, self._tries = float("-inf"), 0

    def may_publish(self, now: float) -> bool:
        """Whether another envelope may be published now."""
        return now >= self._paused_until and len(self._under_way) < _MAX_UNDER_WAY

    def due_s(self, now: float) -> float | None:
        """Return the seconds until the pause is over; None if there is no pause, or nothing is to be published."""
        return self._paused_until - now if self.wants_more and now < self._paused_until else None

    def begin(self, epoch: int) -> bool:
        """Follow the epoch of the frames; return whether it is a new one, whose frames begin at the first."""
        if epoch == self.epoch:
            return False
        self.epoch, self.cursor = epoch, 0
        self._published.clear()
        self._heard, self._tries = -1, 0
        return True

    def publish(self, first: int, last: int, now: float) -> Sent:
        """Note that an envelope with these frames goes to the server; `stored` or `lost` must follow."""
        sent = Sent(self.epoch, first, last, now)
        self.cursor = last
        self._under_way.add(sent)
        self._published.append(sent)
        return sent

    def stored(self, sent: Sent) -> None:
        """Note that the server has stored an envelope."""
        self._under_way.discard(sent)
        self._pause_s = 0.0

    def lost(self, sent: Sent, now: float) -> None:
        """Note that the server has not stored an envelope: publish from there again, after a pause."""
        self._under_way.discard(sent)
        self.refused += 1
        if now >= self._paused_until:
            self._pause_s = min(2 * self._pause_s or _FIRST_PAUSE_S, _MAX_PAUSE_S)
            self._paused_until = now + self._pause_s
        if sent.epoch == self.epoch:
            self._go_back(sent.first - 1)

    def resume(self) -> None:
        """End the pause: the connection is new."""
        self._pause_s = self._paused_until = 0.0

    def hear(self, epoch: int, number: int, now: float, *, is_gap: bool = False) -> bool:
        """Take the host's word on the last frame that it has; return whether frames must be published again.

        They must if it lacks a frame that was published some seconds ago, and has got no further meanwhile. `is_gap`
        means that it has seen a later frame already. A host that names an earlier epoch has no frame of this one.
        """
        if epoch > self.epoch:
            return False
        if epoch < self.epoch:
            number = 0
        while self._published and self._published[0].last <= number:
            self._published.popleft()
        if number != self._heard:
            self._heard, self._heard_since, self._tries = number, now, 0
        if number >= self.cursor or not self._published:
            return False
        patience_s = min((_FIRST_GAP_S if is_gap else _FIRST_AGAIN_S) * 2**self._tries, _MAX_AGAIN_S)
        since = max(self._published[0].at, self._again_at)
        if now - (since if is_gap else max(since, self._heard_since)) < patience_s:
            return False
        self.again += 1
        self._tries += 1
        self._again_at = now
        self._go_back(number)
        return True

    def _go_back(self, number: int) -> None:
        if number < self.cursor:
            self.cursor = number
            self.wants_more = True
            while self._published and self._published[-1].last > number:
                self._published.pop()
