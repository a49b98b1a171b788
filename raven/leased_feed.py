"""Leased feed: messages as they come, at least once, each leased until it is acked."""

from __future__ import annotations

from contextlib import suppress

from raven.errors import RavenError
from raven.feed import Feed
from raven.holdings import Holdings
from raven.mailbox import Lease, Mailbox, check_lease, new_token
from raven.message import Message
from raven.prospect import RUNG, Prospect
from raven.renewal import Renewal
from raven.store import Store
from raven.waiter import Waiter

_NOTHING = Prospect(ready=0, due_at=None, expired=0)


class LeasedFeed(Feed):
    """Claims one message at a time, so that a consumer that dies costs no other message an attempt.

    What is handed out and not acked, at most `max_per_poll` messages, stays leased while this process lives; it goes
    back at the end.
    """

    def __init__(
        self, store: Store, address: str, mailbox: Mailbox, waiter: Waiter, max_per_poll: int, lease_s: float,
        holdings: Holdings,
    ) -> None:  # fmt: skip
        super().__init__(mailbox, waiter, max_per_poll)
        check_lease(lease_s)
        self._store = store
        self._address = address
        self._lease = Lease(new_token(), lease_s)
        self._holdings = holdings
        self._renewal: Renewal | None = None

    def release(self) -> None:
        """Take no more, and give back what is not acked; others who wait for it are woken."""
        self._released = True
        renewal, self._renewal = self._renewal, None
        if renewal is None or self.waiter.is_inherited:
            return
        renewal.end()
        self._holdings.forget_all(self._lease.token)
        # If even this fails the lease ends by itself.
        with suppress(RavenError):
            self._mailbox.give_back(self._lease.token)

    def next(self, rung: bool = False) -> Message | None:
        """Return the next message, leased, or None where nothing is ready or too much is not acked."""
        self.check_open()
        if self._holdings.is_full(self._lease.token, self._max_per_poll):
            self._prospect = _NOTHING
            return None
        self._prospect = self._mailbox.look()
        if not self._prospect.is_promising():
            return None
        self.waiter.tick_if_due()
        messages = self._mailbox.fetch_leased(self._prospect, 1, None, self._lease, counts=True)
        if not messages:
            # Another was quicker, or what was due has died: look once more at the next ring, or in time.
            self._prospect = self._mailbox.look()
            return None
        self._holdings.remember(messages)
        if self._renewal is None:
            self._renewal = Renewal(self._store, self._address, self._lease)
        if self._released:  # meanwhile, by another thread
            self.release()
        self._prospect = RUNG
        return messages[0]
