"""Values: what two hosts tell each other, and what the exchange tells a relay."""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple


class Confirmation(NamedTuple):
    """The last frame of a host that another host has committed: its epoch, its number and its tag."""

    epoch: int
    number: int
    tag: int


class Frame(NamedTuple):
    """One frame to send; `text` is its JSON object, with the number as `n` and the tag as `k`."""

    number: int
    tag: int
    text: str


class Batch(NamedTuple):
    """Frames to send in one envelope, by number without a gap; `tag_before` is that of the frame before the first."""

    epoch: int
    tag_before: int
    frames: list[Frame]


class Incoming(NamedTuple):
    """One envelope of another host as it came: decoded JSON values that are not checked yet."""

    epoch: Any
    tag_before: Any
    frames: Sequence[Any]


class TakenIn(NamedTuple):
    """The result of `take_in`: the confirmation to send, and how many frames were admitted, heard and refused.

    `admitted` counts messages, `heard` frames with news. `is_behind`: the envelopes began later than the last committed
    frame, or did not follow it, so that the host must learn at once which frame that is. `addresses` are the doorbells
    that were rung.
    """

    confirmation: Confirmation
    is_behind: bool
    admitted: int
    heard: int
    refused: int
    addresses: Collection[str]


class Home(NamedTuple):
    """One address as a card shows it: its last use in microseconds, waiting loops, unfinished deliveries.

    `used` says whether a client has used the address, so that it is more than registered.
    """

    seen: int
    waiting: int
    pending: int
    used: bool


class Outgoing(NamedTuple):
    """An address with `ready` deliveries, 1,000 at most, that may go to another host.

    `question_host` is set for a private reply address: the host whose question asked for replies at it.
    """

    address: str
    ready: int
    question_host: str | None


class Returnable(NamedTuple):
    """An address with `ready` deliveries, 1,000 at most, that came from other hosts and may be given back."""

    address: str
    ready: int


class HostState(NamedTuple):
    """A row of `link_hosts`: the numbers of the frames to and from one host."""

    host: str
    lease: int
    epoch: int
    sent: int
    sent_tag: int
    confirmed: int
    confirmed_tag: int
    their_epoch: int
    received: int
    last_tag: int

    @property
    def confirmation(self) -> Confirmation:
        """The last frame of the host that is committed here."""
        return Confirmation(self.their_epoch, self.received, self.last_tag)


class HostOverview(NamedTuple):
    """One linked host, for people: frames sent, confirmed and received, and the deliveries that it has.

    `oldest_held_at` is the send time of the oldest of these, in microseconds; None if it has none. `window_used` is the
    number of frames that it has not confirmed.
    """

    host: str
    epoch: int
    sent: int
    confirmed: int
    their_epoch: int
    received: int
    held: int
    oldest_held_at: int | None
    window_used: int


class Terms:
    """The terms of the exchange of one bus: its host name, the sessions that it shares, and its limits.

    `offset_us` is the server's clock minus this host's, in microseconds.
    """

    def __init__(
        self,
        host: str,
        sessions: Sequence[str],
        accept: dict[str, tuple[str, ...]] | None,
        window: int,
        window_bytes: int,
        max_body_bytes: int,
    ) -> None:
        from fnmatch import fnmatchcase

        self.host = host
        self.window = window
        self.window_bytes = window_bytes
        self.max_body_bytes = max_body_bytes
        self.offset_us = 0
        self._sessions = tuple(sessions)
        self._accept = accept
        self._fits = fnmatchcase

    def shares(self, address: str) -> bool:
        """Whether the session of an address is shared with other hosts."""
        session = address.partition(":")[2]
        return any(pattern == "*" or self._fits(session, pattern) for pattern in self._sessions)

    def accepts(self, host: str, sender: str) -> bool:
        """Whether a host may name a sender."""
        if self._accept is None:
            return True
        return any(self._fits(sender, pattern) for pattern in self._accept.get(host, ()))

    def to_wire(self, local: int | None) -> int | None:
        """Return a time of this host's clock as the server's clock shows it; None as None."""
        return None if local is None else local + self.offset_us

    def from_wire(self, wire: int | None) -> int | None:
        """Return a time of the server's clock as this host's clock shows it; None as None."""
        return None if wire is None else wire - self.offset_us
