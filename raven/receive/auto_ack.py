"""Feeds: messages as they come, at most once, by pushed wake-ups."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Literal, Self, TypeVar

from raven.delivery.mailbox import ASSUME_READY, Claim, Mailbox, QueueState
from raven.errors import BusyError, ClosedError, InputError, RavenError
from raven.model.clock import deadline_after, remaining_s
from raven.model.limits import is_integer
from raven.model.message import Message
from raven.store.database import Store
from raven.wake.sigterm import raise_on_sigterm
from raven.wake.waiter import Waiter

# What is leased is meant to be taken within milliseconds; after a crash it is ready again after this long.
LEASE_S = 5.0
_FAST_BATCH_S = 0.05
_BUSY_NAP_S = 0.002
MAX_BATCH = 10_000
_T = TypeVar("_T")


class AutoAckConsumer:
    """Fetches leased batches and acks each message just before it is handed out; what was not goes back at the end.

    The batch is one message at first, doubles (up to `max_per_poll`) while the consumer keeps up and falls back to one
    when it is slow, so that a slow consumer holds nothing that another could work on.
    """

    def __init__(self, mailbox: Mailbox, waiter: Waiter, max_per_poll: int) -> None:
        if not is_integer(max_per_poll, 1, MAX_BATCH):
            raise InputError(f"max_per_poll {max_per_poll!r} is out of range: use 1 to {MAX_BATCH:,}")
        self.waiter = waiter
        self._mailbox = mailbox
        self._max_per_poll = max_per_poll
        self._batch_size = 1
        self._fetched_at = 0.0
        self._claim: Claim | None = None
        self._place = 0
        self._queue_state = ASSUME_READY
        self._rings_pay = True
        self._released = False

    def __enter__(self) -> Self:
        self.waiter.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.release()
        finally:
            self.waiter.__exit__(kind, error, trace)

    def release(self) -> None:
        """Take no more, and give back what was fetched and not handed out; others who wait for it are woken."""
        self._released = True
        claim, self._claim = self._claim, None
        if claim is not None and not self.waiter.is_inherited:
            # If even this fails the lease ends by itself.
            with suppress(RavenError):
                self._mailbox.release(claim.token)

    def next(self, rung: bool = False) -> Message | None:
        """Return the next message, acked, or None where nothing is ready; `rung` tells that the doorbell just was."""
        self.check_open()
        while (claim := self._claim) is not None:
            row = claim.rows[self._place]
            # Only what was taken is passed: a BusyError leaves all as it was, to be tried again.
            message = self._mailbox.consume(claim, row)
            self._place += 1
            if self._place == len(claim.rows):
                self._claim = None
            if message is not None:
                return message
        # A ring mostly means mail: then a look first is in vain. Where others were quicker it saves taking the lock.
        if rung and self._rings_pay:
            message = self._fetch(ASSUME_READY)
            self._rings_pay = message is not None
            if message is not None:
                return message
        self._queue_state = self._mailbox.peek()
        if not self._queue_state.has_work():
            return None
        message = self._fetch(self._queue_state)
        self._rings_pay = message is not None
        return message

    def check_open(self) -> None:
        """Raise ClosedError when this was released, or is a forked child's copy."""
        if self._released or self.waiter.is_inherited:
            raise ClosedError("the loop was ended, or belongs to the process that this one was forked from")

    def due_s(self, deadline: float | None) -> float | None:
        """Return in how many seconds to look again without being rung: a delay or lease ends, or the deadline comes."""
        return min(
            (pause for pause in (self._queue_state.next_due_s(), remaining_s(deadline)) if pause is not None),
            default=None,
        )

    def _fetch(self, queue: QueueState) -> Message | None:
        self.waiter.tick_if_due()
        now = time.monotonic()
        keeps_up = now - self._fetched_at < _FAST_BATCH_S
        size = min(self._batch_size * 2, self._max_per_poll) if keeps_up else 1
        message, self._claim = self._mailbox.consume_and_prefetch(queue, size, LEASE_S)
        self._place, self._batch_size, self._fetched_at = 0, size, now
        if self._released:  # meanwhile, by another thread
            self.release()
        return message


def iterate(consumer: AutoAckConsumer, timeout_s: float | None) -> Generator[Message, None, None]:
    """Yield messages as they come, blocking this thread between them; ends after `timeout_s` or when closed."""
    deadline = deadline_after(timeout_s)
    raise_on_sigterm()
    rung = False
    with consumer, suppress(ClosedError):
        while True:
            message = consumer.next(rung)
            if message is not None:
                yield message
            if deadline is not None and time.monotonic() >= deadline:
                return
            rung = message is None and consumer.waiter.wait(consumer.due_s(deadline))


class AsyncMessageIterator:
    """What `subscribe` returns: messages as they come, without blocking the event loop; ends as `iterate` does.

    Not an async generator: a loop that is left by `break` drops that to be closed some time later, and what it had
    fetched would be held until then. This gives everything back in the moment in which it is dropped.
    """

    def __init__(self, consumer: AutoAckConsumer, store: Store, timeout_s: float | None) -> None:
        self._consumer = consumer
        self._store = store
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._state: Literal["new", "open", "closed"] = "new"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
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
        """Stop, and give back what was fetched and not handed out."""
        self.close()

    def close(self) -> None:
        """Do as `aclose` does, at once. Closing twice is allowed."""
        if self._state == "open":
            # What cannot be given back at once comes back when its lease ends: no reason to block the event loop.
            with suppress(RavenError), self._store.no_wait():
                self._consumer.release()
            self._consumer.__exit__(None, None, None)
        self._state = "closed"

    def __del__(self) -> None:
        self.close()

    def _past_deadline(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    async def _next(self) -> Message | None:
        """Return the next message, or None at the deadline."""
        rung = False
        while True:
            message = await retry_when_busy(self._store, partial(self._consumer.next, rung))
            if message is not None:
                return message
            if self._past_deadline():
                return None
            rung = await self._consumer.waiter.wait_async(self._consumer.due_s(self._deadline))


async def retry_when_busy(store: Store, step: Callable[[], _T]) -> _T:
    """Run a short step of the store; where another writer is in the way, wait in the event loop."""
    import asyncio

    deadline = time.monotonic() + store.busy_timeout_s
    while True:
        try:
            with store.no_wait():
                return step()
        except BusyError:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(_BUSY_NAP_S * (0.5 + os.urandom(1)[0] / 255))
