"""Request: a question, and the private address at which its sender waits for the answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from raven import clock, feed
from raven.address import Address, parse_address
from raven.doorbell import Doorbells, receipt_bell
from raven.errors import BusyError, ClosedError, InputError, RavenError, WaitTimeoutError
from raven.identity import Identity
from raven.mailbox import Mailbox
from raven.message import Message
from raven.store import Store
from raven.waiter import Waiter
from raven.walwatch import WalWatch

if TYPE_CHECKING:
    from raven.client import BusClient
    from raven.subscription import Subscription

MAX_TIMEOUT_S = 7 * 86400
# So much of the asker's role and session shows in the private address, which must not be too long for one.
_KEPT = 200
_BUSY_PAUSE_S = 0.005


class Answers(feed.Feed):
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
        return min(_BUSY_PAUSE_S, _BUSY_PAUSE_S if due is None else due) if self._was_busy else due

    def release(self) -> None:
        """Take no more, and let nobody answer any more."""
        was_released = self._released
        super().release()
        if not was_released and not self._is_answered and not self.waiter.is_inherited:
            self._withdraw()


class Request:
    """One question on its way; `feed` takes the answer at `reply_address`, which nobody else knows or subscribes to.

    The address is made for this request and never registered, so that no broadcast reaches it. However the wait ends
    without an answer, nobody begins with the request any more.
    """

    def __init__(self, store: Store, doorbells: Doorbells, watch: WalWatch, sender: str, timeout_s: float) -> None:
        check_timeout(timeout_s)
        store.check_outside("wait for an answer")
        address = _private_address(sender)
        self.reply_address = str(address)
        self.timeout_s = timeout_s
        self._store = store
        self._ring = doorbells.ring
        self._give_up_at = time.monotonic() + timeout_s
        self._sent: Message | None = None
        mailbox = Mailbox(store, Identity(store, address, registers=False), doorbells.ring)
        waiter = Waiter(store, doorbells, watch, self.reply_address, 1.0, is_brief=True)
        self.feed = Answers(mailbox, waiter, self._withdraw)

    def answer(self, sent: Message) -> Message:
        """Block until the answer comes, and return it, acked; raises WaitTimeoutError, and leaves nothing behind."""
        self._sent = sent
        with closing(feed.listen(self.feed, self._left_s())) as answers:
            return self._first(list(islice(answers, 1)), sent)

    async def answer_async(self, sent: Message) -> Message:
        """Do as `answer` does, without blocking the event loop; a cancelled task leaves nothing behind either."""
        self._sent = sent
        found = []
        with closing(feed.AsyncMessages(self.feed, self._store, self._left_s())) as answers:
            async for answer in answers:
                found.append(answer)
                break
        return self._first(found, sent)

    def _first(self, found: list[Message], sent: Message) -> Message:
        if found:
            if len(sent.waiting or ()) > 1:  # the others need not begin
                self._withdraw()
            return found[0]
        if self._left_s():
            self._withdraw()  # it may have been closed while it was being sent
            raise ClosedError(f"the client was closed while it waited for the answer to message #{sent.id}")
        raise _too_late(sent, self.timeout_s)

    def _left_s(self) -> float:
        return max(0.0, self._give_up_at - time.monotonic())

    def _withdraw(self) -> None:
        if self._sent is not None:
            _withdraw(self._store, self._ring, self._sent)


class Question:
    """A request for an event loop of your own: `post` it, then fetch the answer from its `subscription`.

    `withdraw` it when nobody waits for the answer any more. What uses the store (`post`, `withdraw`, the fetch) may run
    in another thread, one call at a time. The parameters are those of `request`.
    """

    def __init__(
        self, bus: BusClient, to: str | list[str], type: str, body: Any = None, *, timeout_s: float, **options: Any
    ) -> None:
        check_timeout(timeout_s)
        self._bus = bus
        self._timeout_s = timeout_s
        self._reply_address = str(_private_address(bus.address))
        self._draft = bus._draft_request(to, type, body, timeout_s, self._reply_address, options)
        self._sent: Message | None = None

    def post(self) -> Message:
        """Send it, in one transaction."""
        self._sent = self._bus.post([self._draft])[0]
        return self._sent

    def subscription(self) -> Subscription:
        """Return where the answer comes, acked when it is fetched; of several the first counts."""
        return self._bus.share(self._reply_address, register=False).subscription()

    def spare_others(self) -> None:
        """Let those who were asked, too, not begin once one has answered."""
        if self._sent is not None and len(self._sent.waiting or ()) > 1:
            self.withdraw()

    def withdraw(self) -> None:
        """Let nobody begin with it any more; where that cannot be done now it expires by itself."""
        if self._sent is not None:
            _withdraw(self._bus._store, self._bus._doorbells.ring, self._sent)

    def too_late(self) -> WaitTimeoutError:
        """Return the error for an answer that has not come in time."""
        return _too_late(self._sent, self._timeout_s)


def _private_address(sender: str) -> Address:
    """Return an address that nobody else knows, whose likeness to the sender's helps whoever looks into the file."""
    role, _, session = sender.partition(":")
    return parse_address(f"{role[:_KEPT].strip()}+{os.urandom(8).hex()}:{session[:_KEPT].strip()}")


def _too_late(sent: Message | None, timeout_s: float) -> WaitTimeoutError:
    return WaitTimeoutError(f"no answer to message #{sent.id if sent else '?'} came within {timeout_s:g} s")


def _withdraw(store: Store, ring: Callable[[Iterable[str]], object], sent: Message) -> None:
    """Let nobody begin with what nobody waits for any more, nor answer it.

    Where another writer is in the way it is left to expire by itself: whoever asked does not wait for that.
    """
    with suppress(RavenError), store.impatient():
        given_up = {"message_id": sent.id, "now": clock.now()}
        with store.write() as tx:
            tx.change("withdraw", given_up)
            tx.change("withdraw_message", given_up)
        store.after_commit(ring, [receipt_bell(sent.id)])


def check_timeout(timeout_s: object) -> None:
    """Refuse what is no span to wait for an answer; raises InputError."""
    if not isinstance(timeout_s, int | float) or isinstance(timeout_s, bool) or not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise InputError(f"timeout_s {timeout_s!r} is out of range: use more than 0 seconds, up to 7 days")
