"""Request: a message with a private reply address, and the wait for its reply."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

from raven.delivery.identity import Identity
from raven.delivery.mailbox import Mailbox
from raven.errors import BusyError, ClosedError, InputError, WaitTimeoutError
from raven.model import clock
from raven.model.address import PRIVATE_BYTES, PRIVATE_MARK, parse_address
from raven.model.clock import deadline_after, remaining_s
from raven.model.message import Message
from raven.receive.auto_ack import AsyncMessageIterator, AutoAckConsumer, iterate
from raven.receive.subscription import PullSubscription
from raven.store.database import Store
from raven.store.transaction import Transaction
from raven.wake.doorbell import receipt_address
from raven.wake.handle import Handle
from raven.wake.listener import Listener
from raven.wake.retry import retry_when_busy
from raven.wake.waiter import Waiter

if TYPE_CHECKING:
    from raven.model.new_message import NewMessage

# A reply address starts with this many characters of the sender's role and session, to stay within the length limit.
_MAX_PART = 200
_BUSY_PAUSE_S = 0.005
# One poll ignores at most this many messages that are no replies, so that a flood of them holds up nothing else.
_MAX_IGNORED = 100


class ReplyConsumer(AutoAckConsumer):
    """Takes the first reply; calls `withdraw` if it is released without one.

    It acks and ignores messages that the request does not accept.
    """

    outlasts_busy = True

    def __init__(self, mailbox: Mailbox, waiter: Waiter, pending: PendingRequest) -> None:
        super().__init__(mailbox, waiter, 1)
        self._accepts = pending.accepts
        self._withdraw = pending.withdraw
        self._has_reply = self._is_due = False
        # A new WAL watcher rings all doorbells once, without mail: peek before taking the write lock.
        self._rings_pay = False

    def next(self, notified: bool = False) -> Message | None:
        """Return the reply, acked, or None; also None if another writer is active, and `next_due_s` is then short."""
        self._is_due = False
        try:
            for _ in range(_MAX_IGNORED):
                reply = super().next(notified)
                if reply is None or self._accepts(reply):
                    self._has_reply = reply is not None
                    return reply
                notified = True
        except BusyError:
            self.waiter.become_idle()
            if not self.waiter.may_wait:  # an event loop waits for its turn, and calls again
                self._is_due = True
                raise
        self._is_due = True
        return None

    def next_due_s(self, deadline: float | None) -> float | None:
        """Return the seconds until the next poll is due; at most 5 ms if the last one did not come to its end."""
        due = super().next_due_s(deadline)
        if not self._is_due:
            return due
        return _BUSY_PAUSE_S if due is None else min(due, _BUSY_PAUSE_S)

    def release(self, *, may_wait: bool = True) -> None:
        """Stop, and withdraw the request if no reply has arrived."""
        was_released = self._released
        super().release(may_wait=may_wait)
        if not was_released and not self._has_reply and not self.waiter.is_inherited:
            self._withdraw()


class Request:
    """One blocking or awaited request; `consumer` takes its reply.

    If the wait ends without a reply, for any reason, the request is withdrawn: no recipient can claim it any more.
    """

    def __init__(self, handle: Handle, pending: PendingRequest, timeout_s: float) -> None:
        self._store = handle.store
        self._store.refuse_in_transaction("wait for a reply", of_other_tasks=True)
        self._pending = pending
        self._deadline = deadline_after(timeout_s)
        waiter = Waiter(handle, pending.reply_address, 1.0, delay_watch=True, competes=True)
        self.consumer = ReplyConsumer(pending.mailbox(), waiter, pending)

    def send_and_wait(self) -> Message:
        """Send the request, block until its reply arrives, and return the reply, acked; raises WaitTimeoutError."""
        try:
            self._pending.send()
            with closing(iterate(self.consumer, remaining_s(self._deadline))) as replies:
                return self._first(list(islice(replies, 1)))
        except BaseException:
            self._withdraw_interrupted()
            raise

    async def send_and_wait_async(self) -> Message:
        """Do as `send_and_wait` does, without blocking the event loop; a cancelled task withdraws the request."""
        try:
            await retry_when_busy(self._store, self._pending.send)
            received = []
            with closing(AsyncMessageIterator(self.consumer, self._store, remaining_s(self._deadline))) as replies:
                async for reply in replies:
                    received.append(reply)
                    break
            return self._first(received)
        except BaseException:
            self._withdraw_interrupted()
            raise

    def _withdraw_interrupted(self) -> None:
        """Withdraw the request unless the consumer has: a signal handler may have raised before the wait, or in it."""
        if not self.consumer.waiter.is_inherited:
            self._pending.withdraw()

    def _first(self, received: list[Message]) -> Message:
        if received:
            self._pending.cancel_others()
            return received[0]
        if remaining_s(self._deadline):
            self._pending.withdraw()  # the client may have been closed during the send
            raise ClosedError(f"the client was closed while it waited for the reply to {self._pending}")
        raise self._pending.timeout_error()


class PendingRequest:
    """A request for an event loop of your own: `send` it, then fetch the reply from its `pull_subscription`.

    The reply goes to `reply_address`. That address is new for each request and is never registered: no broadcast
    reaches it, and no other client subscribes to it. Call `withdraw` if you stop waiting. The calls that use the store
    (`send`, `withdraw`, the fetch) may run in another thread, one at a time. `message` has a reply address; the
    parameter `send` sends it in one transaction.
    """

    def __init__(
        self,
        handle: Handle,
        send: Callable[[NewMessage, Callable[[int], None]], Message],
        message: NewMessage,
        timeout_s: float,
    ) -> None:
        self._handle = handle
        self._send_message = send
        self._timeout_s = timeout_s
        self.reply_address = str(message.row.reply_address)
        # Many requests may wait for a long time: their bodies are dropped once they are committed.
        self._message: NewMessage | None = message
        self._sent_id: int | None = None
        # Set before the commit: an exception of a signal handler may come between the commit and the end of the send.
        self._inserted_id: int | None = None
        self._is_withdrawn = False
        self._asked: frozenset[str] = frozenset()

    def send(self) -> Message:
        """Send the request in one transaction; raises InputError if it was sent before.

        If that transaction is rolled back, the request was not sent, and can be.
        """
        if self._message is None or self._sent_id is not None:
            raise InputError(f"{self} was sent already: make another request")
        sent = self._send_message(self._message, self._note_insert)
        self._sent_id, self._asked = sent.id, frozenset(sent.waiting or ())
        self._handle.store.after_commit(self._drop_message, undo=self._forget_send)
        return sent

    def _note_insert(self, id: int) -> None:
        self._inserted_id = id

    def _drop_message(self, _: Iterable[str]) -> None:
        self._message = None

    def _forget_send(self) -> None:
        self._sent_id, self._inserted_id, self._asked = None, None, frozenset()

    def pull_subscription(self) -> PullSubscription:
        """Return a subscription to the reply address; `fetch` acks the reply. The first of several replies counts."""
        return _ReplySubscription(self, Listener(self._handle, self.reply_address))

    def accepts(self, message: Message) -> bool:
        """Whether a message is a reply to this request from one of its recipients."""
        return message.reply_to == self._sent_id is not None and message.sender in self._asked

    def mailbox(self) -> Mailbox:
        """Return the mailbox of the reply address."""
        store, doorbells = self._handle.store, self._handle.doorbells
        return Mailbox(store, Identity(store, parse_address(self.reply_address), registers=False), doorbells)

    def cancel_others(self) -> None:
        """Withdraw the request from the other recipients, after one of them has replied."""
        if len(self._asked) > 1:
            self.withdraw()

    def withdraw(self) -> None:
        """Let no recipient claim the request any more; if another writer is active it expires by itself."""
        if self._inserted_id is not None and not self._is_withdrawn:
            _withdraw(self._handle.store, self._handle.doorbells.ring, self._inserted_id, self.reply_address)
            self._is_withdrawn = True

    def timeout_error(self) -> WaitTimeoutError:
        """Return the error for a reply that has not arrived in time."""
        return WaitTimeoutError(f"no reply to {self} arrived within {self._timeout_s:g} s")

    def __str__(self) -> str:
        return f"message #{'?' if self._sent_id is None else self._sent_id}"


class _ReplySubscription(PullSubscription):
    """The subscription to the reply address of one request; acks and ignores messages that the request refuses."""

    def __init__(self, pending: PendingRequest, listener: Listener) -> None:
        super().__init__(pending.mailbox(), listener)
        self._accepts = pending.accepts

    def fetch(self, max: int, *, notified: bool = False, max_bytes: int | None = None) -> list[Message]:
        """Return up to `max` replies; further messages wait for the next fetch after many that are no replies."""
        for _ in range(_MAX_IGNORED):
            messages = super().fetch(max, notified=notified, max_bytes=max_bytes)
            replies = list(filter(self._accepts, messages))
            if replies or not messages:
                return replies
            notified = True
        return []


def make_reply_address(sender: str) -> str:
    """Return a random address for one reply; it starts with the sender's role, which helps when reading the file."""
    role, _, session = sender.partition(":")
    mark = f"{PRIVATE_MARK}{os.urandom(PRIVATE_BYTES).hex()}"
    return str(parse_address(f"{role[:_MAX_PART].strip()}{mark}:{session[:_MAX_PART].strip()}"))


def _withdraw(store: Store, ring: Callable[[Iterable[str]], object], message_id: int, reply_address: str) -> None:
    """Let no recipient claim a request whose sender has stopped waiting, nor reply to it.

    The sender does not wait for this: if another writer is active, the request expires by itself.
    """

    def step(tx: Transaction) -> None:
        withdrawn = {"message_id": message_id, "now": clock.now()}
        # A rolled-back send leaves its id to another message.
        if tx.change("withdraw_message", {**withdrawn, "reply_address": reply_address}):
            tx.change("withdraw", withdrawn)
            tx.after_commit(ring, [receipt_address(message_id)])

    store.when_free(lambda: store.write(step))
