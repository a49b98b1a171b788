"""Manual acks: messages as they come, at least once, each leased until it is acked."""

from __future__ import annotations

from raven.delivery.mailbox import Lease, Mailbox, QueueState, new_token
from raven.errors import RavenError
from raven.model.message import Message
from raven.receive.auto_ack import AutoAckConsumer
from raven.receive.lease_renewal import LeaseRenewer
from raven.wake.handle import Handle
from raven.wake.waiter import Waiter

_NOTHING = QueueState(ready=0, due_at=None, expired=0)


class ManualAckConsumer(AutoAckConsumer):
    """Claims one message at a time, so that a consumer that dies costs no other message an attempt.

    What is handed out and not acked, at most `max_per_poll` messages, stays leased while this process lives; it goes
    back at the end.
    """

    def __init__(
        self, handle: Handle, address: str, mailbox: Mailbox, waiter: Waiter, max_per_poll: int, lease_s: float
    ) -> None:
        super().__init__(mailbox, waiter, max_per_poll)
        self._store = handle.store
        self._address = address
        self._lease = Lease(new_token(), lease_s)
        self._leases = mailbox.leases
        self._window = self._leases.open_window(self._lease.token)
        self._ring = handle.doorbells.ring
        self._renewer: LeaseRenewer | None = None
        self._has_claimed = False

    def release(self) -> None:
        """Take no more, and give back what is not acked; others who wait for it are woken."""
        self._released = True
        self._leases.close_window(self._lease.token)
        renewer, self._renewer = self._renewer, None
        had_claimed, self._has_claimed = self._has_claimed, False
        if not had_claimed or self.waiter.is_inherited:
            return
        is_given = False
        try:
            self._mailbox.release(self._lease.token)
            is_given = True
        except RavenError:
            # Another writer is in the way, for instance: the thread has the patience. If even it fails the lease ends.
            pass
        finally:
            if renewer is not None:
                renewer.end(give_back=not is_given)

    def next(self, rung: bool = False) -> Message | None:
        """Return the next message, leased, or None where nothing is ready or too much is not acked."""
        self.check_open()
        if self._is_full():
            self._queue_state = _NOTHING
            return None
        self._queue_state = self._mailbox.peek()
        if not self._queue_state.has_work():
            return None
        self.waiter.tick_if_due()
        self._has_claimed = True
        if self._renewer is None:
            self._start_renewer()
        messages, left = self._mailbox.lease_batch(self._queue_state, 1, None, self._lease, counts_attempt=True)
        self._leases.remember(messages)
        if self._released:  # meanwhile, by another thread
            self._has_claimed = True
            self.release()
            self.check_open()
        # Where another was quicker, or what was due has died: look once more at the next ring, or in time.
        self._queue_state = left
        return messages[0] if messages else None

    def _is_full(self) -> bool:
        if len(self._window.ids) < self._max_per_poll:
            return False
        self._window.has_waiter = True
        # What others have acked meanwhile, or have by now, is held here no longer.
        self._window.ids.intersection_update(self._mailbox.leased_ids(self._lease))
        return len(self._window.ids) >= self._max_per_poll

    def _start_renewer(self) -> None:
        try:
            self._renewer = LeaseRenewer(self._store, self._address, self._lease, self._window, self._ring)
        except RuntimeError as error:
            import logging

            logging.getLogger("raven").warning("no thread can renew the leases at %s: %s", self._address, error)
