"""Manual acks: a loop gets each message at least once, leased until the program acks it."""

from __future__ import annotations

from raven.delivery.mailbox import Mailbox, new_token
from raven.delivery.queue_state import Lease, QueueState
from raven.errors import RavenError
from raven.model.message import Message
from raven.receive.auto_ack import AutoAckConsumer
from raven.receive.lease_renewal import LeaseRenewer
from raven.wake.handle import Handle
from raven.wake.waiter import Waiter

_NO_WORK = QueueState(ready=0, due_at=None, expired=0)


class ManualAckConsumer(AutoAckConsumer):
    """Claims one message at a time: if its process dies, no other message loses an attempt.

    Up to `max_per_poll` yielded messages can be unacked. Their lease is renewed while this process runs, and `release`
    ends it.
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
        self._window.wake = waiter.ring
        self._doorbells = handle.doorbells
        self._renewer: LeaseRenewer | None = None
        self._has_claimed = False

    def release(self, *, may_wait: bool = True) -> None:
        """Stop, and release the unacked messages; wakes other consumers of the address."""
        self._released = True
        self._leases.close_window(self._lease.token)
        renewer, self._renewer = self._renewer, None
        had_claimed, self._has_claimed = self._has_claimed, False
        if not had_claimed or self.waiter.is_inherited:
            return
        is_released = False
        try:
            ended = self._mailbox.ended_leases
            is_released = ended.release(self._lease.token, None if may_wait else self._end_within_s())
        except RavenError:
            # Another writer may be active. The renewer's thread tries again; if it fails too, the lease ends by itself.
            pass
        finally:
            if renewer is not None:
                renewer.stop(release=not is_released)

    def next(self, notified: bool = False) -> Message | None:
        """Return the next message, leased; None if no message is ready or `max_per_poll` messages are unacked."""
        self.check_open()
        self.waiter.become_idle()
        if self._is_full():
            if notified:  # perhaps for mail, which another consumer can take
                self.waiter.pass_on(forward=True)
            self._queue_state = _NO_WORK
            return None
        self._queue_state = self._mailbox.peek()
        if not self._queue_state.has_work():
            return None
        self._has_claimed = True
        if self._renewer is None:
            self._start_renewer()
        messages, left = self._mailbox.lease_batch(self._queue_state, 1, None, self._lease, counts_attempt=True)
        self._leases.remember(messages)
        if messages:
            self.waiter.become_busy()
            self._share()
        if self._released:  # by another thread, during the fetch
            self._has_claimed = True
            self.release()
            self.check_open()
        # Another consumer may have been quicker, or the due delivery has died: peek again when notified or due.
        self._queue_state = left
        return messages[0] if messages else None

    def _is_full(self) -> bool:
        if len(self._window.ids) < self._max_per_poll:
            return False
        self._window.has_waiter = True
        # Remove the messages that another client has acked, or has leased after this lease ended.
        self._window.ids.intersection_update(self._mailbox.leased(self._lease))
        return len(self._window.ids) >= self._max_per_poll

    def _start_renewer(self) -> None:
        try:
            self._renewer = LeaseRenewer(self._store, self._address, self._lease, self._window, self._doorbells)
        except RuntimeError as error:
            if "shutdown" in str(error):  # a daemon thread goes on while the interpreter exits; its leases end soon
                return
            import logging

            logging.getLogger("raven").warning("no thread can renew the leases at %s: %s", self._address, error)
