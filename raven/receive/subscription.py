"""Pull subscription: the mail of one address, for an event loop of your own."""

from __future__ import annotations

from contextlib import suppress

from raven.delivery.mailbox import Mailbox, new_token
from raven.delivery.queue_state import ASSUME_READY, Lease
from raven.errors import InputError, RavenError, abbreviate
from raven.model import clock
from raven.model.limits import check_lease, check_max
from raven.model.message import AckMode, Message
from raven.wake.listener import Listener


class PullSubscription:
    """Fetches the ready messages of an address; its `listener` says when.

    Call `fetch` when the listener is notified, after `next_due_s()` seconds, and at every fallback poll. The calls that
    use the store may run in another thread than the listener, one at a time.

    With `ack="auto"` a fetched message is already acked. Otherwise it is leased for `lease_s` seconds: call `renew`
    before that ends. An unacked message is ready again when its lease ends, or at `close`. With `"manual"` the fetch
    counts an attempt, and the client acks the message. With `"prefetch"` the fetch counts no attempt: `consume` acks
    the message and counts it.
    """

    def __init__(self, mailbox: Mailbox, listener: Listener, ack: AckMode = "auto", lease_s: float = 30.0) -> None:
        self.listener = listener
        self._mailbox = mailbox
        self._lease = None if ack == "auto" else Lease(new_token(), lease_s)
        self._is_prefetch = ack == "prefetch"
        self._queue_state = ASSUME_READY
        self._is_open = True

    def fetch(self, max: int, *, notified: bool = False, max_bytes: int | None = None) -> list[Message]:
        """Return up to `max` ready messages, by urgency, then id.

        `notified` says that the doorbell has just been rung. `max_bytes`: stop before the message that brings
        their JSON over this many bytes.
        """
        check_max(max)
        if not self._is_open or self.listener.is_inherited:
            return []
        queue = ASSUME_READY
        if not notified:
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
        if len(messages) == max and self.listener.has_company():
            # The messages in hand must not be lost if a read fails.
            with suppress(RavenError):
                left = self._mailbox.peek()
            if left.ready:
                self.listener.pass_on()
        self._queue_state = left
        return messages

    def next_due_s(self) -> float | None:
        """Return the seconds until the next fetch is due: 0 if more messages may be ready, None if nothing is due."""
        return 0.0 if self._queue_state.ready else self._queue_state.next_due_s()

    def consume(self, id: int) -> None:
        """Ack a leased message before it is processed; raises LeaseLostError if its lease has ended."""
        if self._lease is not None and self._is_prefetch:
            self._mailbox.consume_leased(id, self._lease.token)
        elif self._lease is not None:
            self._mailbox.ack(id, self._lease.token)

    def renew(self) -> set[int]:
        """Lease the unacked messages for another `lease_s` seconds; returns the ids that are still leased."""
        return set() if self._lease is None else set(self._mailbox.renew(self._lease))

    def held(self, least_s: float) -> dict[int, int]:
        """Return the ids of the leased messages, each with the end of its lease in microseconds since 1970.

        Renews the leases if one ends within `least_s` seconds.
        """
        if self._lease is None:
            return {}
        leased, soon = self._mailbox.leased(self._lease), clock.now() + clock.to_micros(least_s)
        return self._mailbox.renew(self._lease) if any(end < soon for end in leased.values()) else leased

    def release(self) -> None:
        """Make the unacked messages ready again, and wake other consumers of the address. Raises DatabaseError."""
        if self._lease is not None:
            self._mailbox.ended_leases.release(self._lease.token)

    def close(self) -> None:
        """Release the unacked messages and close the listener. A second call does nothing."""
        if not self._is_open or self.listener.is_inherited:
            return
        self._is_open = False
        self.listener.close()
        # If the release fails, the leases end by themselves.
        with suppress(RavenError):
            self.release()


def check(ack: object, lease_s: object) -> None:
    """Raise InputError unless `ack` is a known mode and `lease_s` a valid lease."""
    if ack not in ("auto", "manual", "prefetch"):
        raise InputError(f"ack {abbreviate(ack)} is not known: use 'auto', 'manual' or 'prefetch'")
    check_lease(lease_s)
