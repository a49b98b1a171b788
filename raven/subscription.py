"""Subscription: the mail of one address for an event loop that is not raven's."""

from __future__ import annotations

import os
from contextlib import suppress

from raven.errors import InputError, RavenError
from raven.listener import Listener
from raven.mailbox import RUNG, Mailbox
from raven.message import AckMode, Message, check_max


class Subscription:
    """Fetches what is ready for an address; its `listener` tells when to look.

    `fetch` when the listener was rung, when `due_s()` is over and at every tick. `fetch`, `renew` and `close` use the
    store: they may run in another thread than the listener, one at a time.

    With `ack="auto"` what is fetched is acked already. With `"manual"` it is leased for `lease_s` seconds: `ack` it,
    and `renew` the lease of the rest in good time; what is not acked is ready again when its lease ends, or at `close`.
    """

    def __init__(self, mailbox: Mailbox, listener: Listener, ack: AckMode = "auto", lease_s: float = 30.0) -> None:
        self.listener = listener
        self._mailbox = mailbox
        self._token = None if ack == "auto" else int.from_bytes(os.urandom(7))
        self._lease_s = lease_s
        self._prospect = RUNG
        self._is_open = True

    def fetch(self, max: int, *, rung: bool = False) -> list[Message]:
        """Return up to `max` messages that are ready, by urgency, then id; `rung` tells that the doorbell just was."""
        check_max(max)
        if not self._is_open or self.listener.is_inherited:
            return []
        if not rung:
            self._mailbox.verify()
        prospect = RUNG if rung else self._mailbox.look()
        if not prospect.is_promising():
            self._prospect = prospect
            return []
        messages = self._mailbox.fetch(prospect, max, self._token, self._lease_s)
        self._prospect = self._mailbox.look() if len(messages) < max else RUNG
        return messages

    def due_s(self) -> float | None:
        """Return in how many seconds to fetch without being rung: 0 if there may be more, None if nothing is due."""
        return 0.0 if self._prospect.ready else self._prospect.due_s()

    def renew(self) -> set[int]:
        """Lease what is not acked for another `lease_s`; returns the ids that are still held."""
        return set() if self._token is None else self._mailbox.renew(self._token, self._lease_s)

    def give_back(self) -> None:
        """Make ready again what was not acked, and wake others who wait for it. Raises DatabaseError."""
        if self._token is not None:
            self._mailbox.give_back(self._token, self.listener.wake)

    def close(self) -> None:
        """Give back what was not acked and wake others who wait for it; closes the listener. Twice is allowed."""
        if not self._is_open or self.listener.is_inherited:
            return
        self._is_open = False
        self.listener.close()
        # If even this fails the leases end by themselves.
        with suppress(RavenError):
            self.give_back()


def check(ack: object, lease_s: object) -> None:
    """Refuse what no subscription can be made with; raises InputError."""
    if ack not in ("auto", "manual"):
        raise InputError(f"ack {ack!r} is not known: use 'auto' or 'manual'")
    if not isinstance(lease_s, int | float) or isinstance(lease_s, bool) or not 0 < lease_s <= 86400:
        raise InputError(f"lease_s {lease_s!r} is out of range: use more than 0, up to 86400 seconds")
