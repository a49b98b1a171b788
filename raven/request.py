"""Request: a question, and the private address at which its sender waits for the answer."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from raven import clock, feed
from raven.address import parse_address
from raven.doorbell import Doorbells
from raven.errors import InputError, RavenError, WaitTimeoutError
from raven.identity import Identity
from raven.mailbox import Mailbox
from raven.message import Message
from raven.store import Store
from raven.waiter import Waiter
from raven.walwatch import WalWatch

MAX_TIMEOUT_S = 7 * 86400
# So much of the asker's role and session shows in the private address, which must not be too long for one.
_KEPT = 200


class Request:
    """One question on its way; `feed` takes the answer at `reply_address`, which nobody else knows or subscribes to.

    The address is made for this request and never registered, so that no broadcast reaches it.
    """

    def __init__(self, store: Store, doorbells: Doorbells, watch: WalWatch, sender: str, timeout_s: float) -> None:
        check_timeout(timeout_s)
        store.check_outside("wait for an answer")
        role, _, session = sender.partition(":")
        address = parse_address(f"{role[:_KEPT].strip()}+{os.urandom(8).hex()}:{session[:_KEPT].strip()}")
        self.reply_address = str(address)
        self.timeout_s = timeout_s
        self._store = store
        self._give_up_at = time.monotonic() + timeout_s
        mailbox = Mailbox(store, Identity(store, address, registers=False), doorbells.ring)
        self.feed = feed.Feed(mailbox, Waiter(store, doorbells, watch, self.reply_address, 1.0), 1)

    def answer(self, sent: Message) -> Message:
        """Block until the answer comes, and return it, acked; raises WaitTimeoutError, and leaves nothing behind."""
        answers = feed.listen(self.feed, self._left_s())
        try:
            for answer in answers:
                return answer
        except BaseException:
            self._withdraw(sent)
            raise
        raise self._too_late(sent)

    async def answer_async(self, sent: Message) -> Message:
        """Do as `answer` does, without blocking the event loop; a cancelled task leaves nothing behind either."""
        answers = feed.AsyncMessages(self.feed, self._store, self._left_s())
        try:
            async for answer in answers:
                answers.close()
                return answer
        except BaseException:
            self._withdraw(sent)
            raise
        finally:
            answers.close()
        raise self._too_late(sent)

    def _left_s(self) -> float:
        return max(0.0, self._give_up_at - time.monotonic())

    def _too_late(self, sent: Message) -> WaitTimeoutError:
        self._withdraw(sent)
        return WaitTimeoutError(f"no answer to message #{sent.id} came within {self.timeout_s:g} s")

    def _withdraw(self, sent: Message) -> None:
        """Let nobody begin with what nobody waits for any more; what cannot be withdrawn now expires by itself."""
        with suppress(RavenError), self._store.write() as tx:
            tx.change("withdraw", {"message_id": sent.id, "now": clock.now()})


def check_timeout(timeout_s: object) -> None:
    """Refuse what is no span to wait for an answer; raises InputError."""
    if not isinstance(timeout_s, int | float) or isinstance(timeout_s, bool) or not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise InputError(f"timeout_s {timeout_s!r} is out of range: use more than 0 seconds, up to 7 days")
