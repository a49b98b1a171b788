"""Request: a message that asks for a reply, and the private address at which its sender waits for the answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from itertools import islice
from typing import TYPE_CHECKING

from raven.delivery.identity import Identity
from raven.delivery.mailbox import Mailbox
from raven.errors import BusyError, ClosedError, InputError, RavenError, WaitTimeoutError
from raven.model import clock
from raven.model.address import parse_address
from raven.model.clock import deadline_after, remaining_s
from raven.model.message import Message
from raven.receive.auto_ack import AsyncMessageIterator, AutoAckConsumer, iterate, retry_when_busy
from raven.receive.subscription import PullSubscription
from raven.store.database import Store
from raven.wake.doorbell import receipt_address
from raven.wake.handle import Handle
from raven.wake.listener import Listener
from raven.wake.waiter import Waiter

if TYPE_CHECKING:
    from raven.model.new_message import NewMessage

# So much of the asker's role and session shows in the private address, which must not be too long for one.
_MAX_PART = 200
_BUSY_PAUSE_S = 0.005


class ReplyConsumer(AutoAckConsumer):
    """Takes the one answer; `withdraw` is called when it ends without."""

    def __init__(self, mailbox: Mailbox, waiter: Waiter, withdraw: Callable[[], None]) -> None:
        super().__init__(mailbox, waiter, 1)
        self._withdraw = withdraw
        self._is_answered = self._was_busy = False
        # Whoever begins to watch rings everybody: a look comes before the lock.
        self._rings_pay = False

    def next(self, rung: bool = False) -> Message | None:
        """Return the answer, acked, or None; where another writer is in the way it is looked for again shortly."""
        self._was_busy = False
        try:
            answer = super().next(rung)
        except BusyError:
            self._was_busy = True
            return None
        self._is_answered = answer is not None
        return answer

    def due_s(self, deadline: float | None) -> float | None:
        """Return in how many seconds to look again without being rung."""
        due = super().due_s(deadline)
        if not self._was_busy:
            return due
        return _BUSY_PAUSE_S if due is None else min(due, _BUSY_PAUSE_S)

    def release(self) -> None:
        """Take no more, and let nobody answer any more."""
        was_released = self._released
        super().release()
        if not was_released and not self._is_answered and not self.waiter.is_inherited:
            self._withdraw()


class Request:
    """One request on its way: `consumer` takes its answer.

    However the wait ends without an answer, nobody begins with the request any more.
    """

    def __init__(self, handle: Handle, pending: PendingRequest, timeout_s: float) -> None:
        self._store = handle.store
        self._store.refuse_in_transaction("wait for an answer")
        self._pending = pending
        self._deadline = deadline_after(timeout_s)
        waiter = Waiter(handle, pending.reply_address, 1.0, delay_watch=True)
        self.consumer = ReplyConsumer(pending.mailbox(), waiter, pending.withdraw)

    def answer(self) -> Message:
        """Send it, block until the answer comes, and return that, acked; raises WaitTimeoutError."""
        self._pending.send()
        with closing(iterate(self.consumer, remaining_s(self._deadline))) as answers:
            return self._first(list(islice(answers, 1)))

    async def answer_async(self) -> Message:
        """Do as `answer` does, without blocking the event loop; a cancelled task leaves nothing behind either."""
        await retry_when_busy(self._store, self._pending.send)
        found = []
        with closing(AsyncMessageIterator(self.consumer, self._store, remaining_s(self._deadline))) as answers:
            async for answer in answers:
                found.append(answer)
                break
        return self._first(found)

    def _first(self, found: list[Message]) -> Message:
        if found:
            self._pending.cancel_others()
            return found[0]
        if remaining_s(self._deadline):
            self._pending.withdraw()  # it may have been closed while it was being sent
            raise ClosedError(f"the client was closed while it waited for the answer to {self._pending}")
        raise self._pending.timeout_error()


class PendingRequest:
    """A request for an event loop of your own: `send` it, then fetch the answer from its `pull_subscription`.

    The answer comes to `reply_address`, which nobody else knows or subscribes to: it is made for this request and
    never registered, so that no broadcast reaches it. `withdraw` it when nobody waits for the answer any more. What
    uses the store (`send`, `withdraw`, the fetch) may run in another thread, one call at a time. `message` is
    one with a reply address, and `send` sends it in one transaction.
    """

    def __init__(
        self, handle: Handle, send: Callable[[NewMessage], Message], message: NewMessage, timeout_s: float
    ) -> None:
        self._handle = handle
        self._send_message = send
        self._timeout_s = timeout_s
        self.reply_address = str(message.row.reply_address)
        # Many may wait for long: what they have asked is not kept beyond the moment at which it is sent.
        self._message: NewMessage | None = message
        self._sent_id: int | None = None
        self._asked = 0

    def send(self) -> Message:
        """Send it, in one transaction; raises InputError where that was done already."""
        if self._message is None:
            raise InputError(f"{self} was sent already: make another request")
        sent = self._send_message(self._message)
        self._message, self._sent_id, self._asked = None, sent.id, len(sent.waiting or ())
        return sent

    def pull_subscription(self) -> PullSubscription:
        """Return where the answer comes, acked when it is fetched; of several the first counts."""
        return PullSubscription(self.mailbox(), Listener(self._handle, self.reply_address))

    def mailbox(self) -> Mailbox:
        """Return the mailbox into which the answer comes."""
        store, doorbells = self._handle.store, self._handle.doorbells
        return Mailbox(store, Identity(store, parse_address(self.reply_address), registers=False), doorbells.ring)

    def cancel_others(self) -> None:
        """Let those who were asked, too, not begin once one has answered."""
        if self._asked > 1:
            self.withdraw()

    def withdraw(self) -> None:
        """Let nobody begin with it any more; where that cannot be done now it expires by itself."""
        if self._sent_id is not None:
            _withdraw(self._handle.store, self._handle.doorbells.ring, self._sent_id)

    def timeout_error(self) -> WaitTimeoutError:
        """Return the error for an answer that has not come in time."""
        return WaitTimeoutError(f"no answer to {self} came within {self._timeout_s:g} s")

    def __str__(self) -> str:
        return f"message #{'?' if self._sent_id is None else self._sent_id}"


def make_reply_address(sender: str) -> str:
    """Return an address that nobody else knows, whose likeness to the sender's helps whoever looks into the file."""
    role, _, session = sender.partition(":")
    return str(parse_address(f"{role[:_MAX_PART].strip()}+{os.urandom(8).hex()}:{session[:_MAX_PART].strip()}"))


def _withdraw(store: Store, ring: Callable[[Iterable[str]], object], message_id: int) -> None:
    """Let nobody begin with what nobody waits for any more, nor answer it.

    Where another writer is in the way it is left to expire by itself: whoever asked does not wait for that.
    """
    with suppress(RavenError), store.no_wait():
        given_up = {"message_id": message_id, "now": clock.now()}
        with store.write() as tx:
            tx.change("withdraw", given_up)
            tx.change("withdraw_message", given_up)
        store.after_commit(ring, [receipt_address(message_id)])
