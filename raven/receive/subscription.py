"""PullSubscription: the mail of one address for an event loop that is not raven's."""

from __future__ import annotations

from contextlib import suppress

from raven.delivery.mailbox import ASSUME_READY, Lease, Mailbox, new_token
from raven.errors import InputError, RavenError
from raven.model.limits import check_lease, check_max
from raven.model.message import AckMode, Message
from raven.wake.listener import Listener


class PullSubscription:
    """Fetches what is ready for an address; its `listener` tells when to look.

    `fetch` when the listener was rung, when `due_s()` is over and at every tick. What uses the store may run in another
    thread than the listener, one call at a time.

    With `ack="auto"` what is fetched is acked already. Otherwise it is leased for `lease_s` seconds: `renew` that in
    good time; what is not acked is ready again when its lease ends, or at `close`. With `"manual"` a message is in its
    consumer's hands when it is fetched, and the client acks it. With `"prefetch"` it is only set apart, and in the
    consumer's hands when it is taken: `take` acks it and counts the attempt.
    """

    def __init__(self, mailbox: Mailbox, listener: Listener, ack: AckMode = "auto", lease_s: float = 30.0) -> None:
        self.listener = listener
        self._mailbox = mailbox
        self._lease = None if ack == "auto" else Lease(new_token(), lease_s)
        self._is_prefetch = ack == "prefetch"
        self._queue_state = ASSUME_READY
        self._is_open = True

    def fetch(self, max: int, *, rung: bool = False, max_bytes: int | None = None) -> list[Message]:
        """Return up to `max` messages that are ready, by urgency, then id; `rung` tells that the doorbell just was.

        With `max_bytes` it stops after the message with which they come to so much.
        """
        check_max(max)
        if not self._is_open or self.listener.is_inherited:
            return []
        queue = ASSUME_READY
        if not rung:
            self._mailbox.verify()
            queue = self._mailbox.peek()
            if not queue.has_work():
                self._queue_state = queue
                return []
        if self._lease is None:
            messages, left = self._mailbox.consume_batch(queue, max, max_bytes)
        else:
            counts = not self._is_prefetch
            messages, left = self._mailbox.lease_batch(queue, max, max_bytes, self._lease, counts_attempt=counts)
        self._queue_state = left
        return messages

    def due_s(self) -> float | None:
        """Return in how many seconds to fetch without being rung: 0 if there may be more, None if nothing is due."""
        return 0.0 if self._queue_state.ready else self._queue_state.next_due_s()

    def take(self, id: int) -> None:
        """Ack a message that is leased here, as it is handed out; LeaseLostError where the lease has ended."""
        if self._lease is not None and self._is_prefetch:
            self._mailbox.consume_leased(id, self._lease.token)
        elif self._lease is not None:
            self._mailbox.ack(id, self._lease.token)

    def renew(self) -> set[int]:
        """Lease what is not acked for another `lease_s`; returns the ids that are still held."""
        return set() if self._lease is None else self._mailbox.renew(self._lease)

    def give_back(self) -> None:
        """Make ready again what was not acked, and wake others who wait for it. Raises DatabaseError."""
        if self._lease is not None:
            self._mailbox.release(self._lease.token)

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
    if ack not in ("auto", "manual", "prefetch"):
        raise InputError(f"ack {ack!r} is not known: use 'auto', 'manual' or 'prefetch'")
    check_lease(lease_s)
