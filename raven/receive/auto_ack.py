"""Automatic acks: a loop gets each message at most once, acked before the loop yields it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Literal, Self

from raven.delivery.mailbox import Mailbox
from raven.delivery.queue_state import ASSUME_READY, Claim, QueueState
from raven.errors import BusyError, ClosedError, InputError, RavenError, abbreviate
from raven.model.clock import deadline_after, remaining_s
from raven.model.limits import is_integer
from raven.model.message import Message
from raven.store.database import Store
from raven.wake.retry import retry_when_busy
from raven.wake.sigterm import raise_on_sigterm
from raven.wake.waiter import Waiter

# A prefetched message is normally consumed within milliseconds. After a crash it is ready again after this long.
LEASE_S = 5.0
# The end of a loop waits for other writers no longer than this. The garbage collector may end a loop while this thread
# holds a lock that one of these writers waits for.
_END_WITHIN_S = 0.2
_FAST_BATCH_S = 0.05
MAX_BATCH = 10_000


class AutoAckConsumer:
    """Prefetches a leased batch and acks each message just before the loop yields it; `release` returns the rest.

    If `outlasts_busy`, an async loop of it goes on after a BusyError.

    The first batch is one message. The size doubles, up to `max_per_poll`, while the consumer keeps up, and falls back
    to one when the consumer is slow: a slow consumer keeps no message from another.
    """

    outlasts_busy = False

    def __init__(self, mailbox: Mailbox, waiter: Waiter, max_per_poll: int) -> None:
        if not is_integer(max_per_poll, 1, MAX_BATCH):
            raise InputError(f"max_per_poll {abbreviate(max_per_poll)} is out of range: use 1 to {MAX_BATCH:,}")
        self.waiter = waiter
        self._mailbox = mailbox
        self._max_per_poll = max_per_poll
        self._batch_size = 1
        self._fetched_at = 0.0
        self._claim: Claim | None = None
        self._next_row = 0
        self._queue_state = ASSUME_READY
        self._skips_peek = True
        self._released = False

    def __enter__(self) -> Self:
        self.waiter.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # The garbage collector may end a generator or a coroutine, while this thread holds any lock.
            self.release(may_wait=self.waiter.may_wait and kind is not GeneratorExit)
        finally:
            self.waiter.__exit__(kind, error, trace)

    def release(self, *, may_wait: bool = True) -> None:
        """Stop, and release the prefetched messages that were not yielded; wakes other consumers of the address.

        Without `may_wait` it waits for no thread, and not long for another process: this client's next write, or the
        fetch of its next loop, then releases them.
        """
        self._released = True
        claim, self._claim = self._claim, None
        if claim is not None and not self.waiter.is_inherited:
            # If the release fails, the lease ends by itself after LEASE_S.
            with suppress(RavenError):
                self._mailbox.ended_leases.release(claim.token, None if may_wait else self._end_within_s())

    async def release_rest(self, store: Store) -> None:
        """Release what `release` has left because another writer was active; the event loop goes on meanwhile."""
        with suppress(RavenError):
            await retry_when_busy(store, self._mailbox.ended_leases.release_rest)

    def _end_within_s(self) -> float:
        """Return how long the end of a loop may wait for other processes; an event loop waits for none."""
        return _END_WITHIN_S if self.waiter.may_wait else 0.0

    def next(self, notified: bool = False) -> Message | None:
        """Return the next message, acked, or None if no message is ready.

        `notified` says that the doorbell has just been rung.
        """
        self.check_open()
        while (claim := self._claim) is not None:
            row = claim.rows[self._next_row]
            # A BusyError leaves the position unchanged, so that the call can be repeated.
            message = self._mailbox.consume(claim, row)
            self._next_row += 1
            if self._next_row == len(claim.rows):
                self._claim = None
            if message is not None:
                return message
        # A ring usually means mail, so a peek would only cost time. It saves the write lock if others were quicker.
        if notified and self._skips_peek:
            message = self._fetch(ASSUME_READY)
            self._skips_peek = message is not None
            if message is not None:
                return message
        self.waiter.become_idle()
        self._queue_state = self._mailbox.peek()
        if not self._queue_state.has_work():
            return None
        message = self._fetch(self._queue_state)
        self._skips_peek = message is not None
        return message

    def check_open(self) -> None:
        """Raise ClosedError if this consumer was released, or is a forked child's copy; InputError in a transaction."""
        if self._released or self.waiter.is_inherited:
            raise ClosedError("the loop was ended, or belongs to the process that this one was forked from")
        self.waiter.refuse_in_transaction()

    def next_due_s(self, deadline: float | None) -> float | None:
        """Return the seconds until a delay or a lease ends, or until the deadline; None if nothing is due."""
        return min(
            (pause for pause in (self._queue_state.next_due_s(), remaining_s(deadline)) if pause is not None),
            default=None,
        )

    def _fetch(self, queue: QueueState) -> Message | None:
        now = time.monotonic()
        keeps_up = now - self._fetched_at < _FAST_BATCH_S
        size = min(self._batch_size * 2, self._max_per_poll) if keeps_up else 1
        message, self._claim = self._mailbox.consume_and_prefetch(queue, size, LEASE_S)
        self._next_row = 0
        if message is not None:  # a fetch in vain does not say how quick the consumer is
            self._batch_size, self._fetched_at = size, now
            self.waiter.become_busy()
            if size == 1 + (len(self._claim.rows) if self._claim is not None else 0):
                self._share()
        if self._released:  # by another thread, during the fetch
            self.release()
        return message

    def _share(self) -> None:
        """Ring another consumer of the address if more mail is ready than this one has taken."""
        # The message in hand must not be lost if a read fails.
        with suppress(RavenError):
            if self.waiter.has_company() and self._mailbox.peek().ready:
                self.waiter.pass_on()


def iterate(consumer: AutoAckConsumer, timeout_s: float | None) -> Generator[Message, None, None]:
    """Yield each message as it arrives and block this thread in between, until `timeout_s` is over or `release`."""
    deadline = deadline_after(timeout_s)
    raise_on_sigterm()
    notified = False
    with consumer, suppress(ClosedError):
        while True:
            consumer.waiter.tick_if_due()  # also in a busy loop that never waits
            message = consumer.next(notified)
            if message is not None:
                yield message
            if deadline is not None and time.monotonic() >= deadline:
                return
            notified = message is None and consumer.waiter.wait(consumer.next_due_s(deadline))


class AsyncMessageIterator:
    """The async iterator that `subscribe` returns: does not block the event loop, and ends as `iterate` does.

    It is not an async generator. Python closes a generator some time after `break`, and the prefetched messages would
    stay leased until then. This class releases them as soon as its last reference is gone.
    """

    def __init__(self, consumer: AutoAckConsumer, store: Store, timeout_s: float | None) -> None:
        self._consumer = consumer
        consumer.waiter.may_wait = False
        self._store = store
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._state: Literal["new", "open", "closed"] = "new"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        self._store.refuse_in_transaction("wait")
        if self._state == "new":
            self._deadline = deadline_after(self._timeout_s)
            raise_on_sigterm()
            self._state = "open"
            self._consumer.__enter__()
        elif self._past_deadline():
            self.close()
        message = None
        try:
            if self._state == "open":
                message = await self._next()
        except ClosedError:
            pass
        finally:
            if message is None:
                self.close()
        if message is None:
            raise StopAsyncIteration
        return message

    async def aclose(self) -> None:
        """Stop, and release the messages that were fetched and not yielded."""
        self.close()
        await self._consumer.release_rest(self._store)

    def close(self) -> None:
        """Do as `aclose` does, synchronously. A second call does nothing."""
        if self._state == "open":
            self._consumer.__exit__(None, None, None)
        self._state = "closed"

    def __del__(self) -> None:
        self.close()

    def _past_deadline(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    async def _retry(self, step: Callable[[], Message | None]) -> Message | None:
        left = remaining_s(self._deadline) if self._consumer.outlasts_busy else None
        try:
            return await retry_when_busy(self._store, step, left, self._deadline)
        except BusyError:
            if self._consumer.outlasts_busy or self._past_deadline():
                return None
            raise

    async def _next(self) -> Message | None:
        """Return the next message, or None at the deadline."""
        notified = False
        while True:
            self._consumer.waiter.tick_if_due()
            message = await self._retry(partial(self._consumer.next, notified))
            if message is not None:
                return message
            if self._past_deadline():
                return None
            notified = await self._consumer.waiter.wait_async(self._consumer.next_due_s(self._deadline))
