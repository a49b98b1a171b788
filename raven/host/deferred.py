"""Deferred: requests whose response comes later, when a condition holds; they delay no other request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from raven.errors import ClosedError, LimitError, RavenError
from raven.host.host import Host
from raven.host.poller import Poller, Sink
from raven.host.worker import Done, Executor, Outcome, ignore
from raven.model.limits import MAX_PAGE_BYTES
from raven.model.message import Message
from raven.model.status import Receipt
from raven.query.receipts import ReceiptPoller
from raven.receive.request import PendingRequest
from raven.store.sql.rows import LongPageError
from raven.wake.listener import Listener

if TYPE_CHECKING:
    import asyncio

MAX_DEFERRED = 1000


class Condition(Protocol):
    """The condition that a Deferred waits for.

    `fetch`, `final_poll` and `withdraw` run in the thread of `executor`, the rest on the event loop. A poll returns
    None until the condition holds.
    """

    executor: Executor
    listener: Listener
    withdraw: Callable[[], None] | None  # cleans up after a cancelled Deferred

    def fetch(self, max: int, notified: bool) -> Any:
        """Poll; `notified` is true just after the doorbell rang."""

    def next_due_s(self) -> float | None:
        """Return after how many seconds to poll again without a ring, or None."""

    def final_poll(self) -> Any:
        """Poll a last time, after the timeout; withdraw if the condition still does not hold."""

    def timeout_error(self) -> RavenError:
        """Return the error for a condition that did not hold in time."""


class ReplyCondition:
    """The reply to a request has come; it is acked as it is fetched."""

    executor: Executor = "write"

    def __init__(self, host: Host, pending: PendingRequest, sink: Sink) -> None:
        self._host = host
        self._pending = pending
        self._subscription = pending.pull_subscription()
        self._sink = sink
        self.listener = self._subscription.listener
        self.withdraw: Callable[[], None] | None = pending.withdraw

    def fetch(self, max: int, notified: bool) -> Message | None:
        """Return the reply, or None before it has come."""
        most = self._host.writer.page_bytes(MAX_PAGE_BYTES)
        messages = self._subscription.fetch(max, notified=notified, max_bytes=most)
        if messages:
            self._pending.cancel_others()
        return messages[0] if messages else None

    def next_due_s(self) -> float | None:
        """Return after how many seconds a delayed reply is ready."""
        return self._subscription.next_due_s()

    def final_poll(self) -> Message | None:
        """Return the reply if it has come and the consumer reads; otherwise withdraw the request."""
        reply = None
        if not self._sink.is_full:
            try:
                reply = self.fetch(1, notified=True)
            except LongPageError:  # this runs again in the thread
                raise
            except RavenError:
                pass
        if reply is None:
            self._pending.withdraw()
        return reply

    def timeout_error(self) -> RavenError:
        """Return the error for a reply that did not come in time."""
        return self._pending.timeout_error()


class ReceiptCondition:
    """Every delivery of a message has reached a state."""

    executor: Executor = "read"

    def __init__(self, receipts: ReceiptPoller, listener: Listener, timeout_s: float | None) -> None:
        self._receipts = receipts
        self._timeout_s = timeout_s
        self.listener = listener
        self.withdraw: Callable[[], None] | None = None

    def fetch(self, max: int, notified: bool) -> list[Receipt] | None:
        """Return the receipts if all deliveries have reached the state."""
        return self._receipts.poll()

    def next_due_s(self) -> float | None:
        """Return after how many seconds a lease, a delay or a message's time ends."""
        return self._receipts.next_due_s()

    def final_poll(self) -> list[Receipt] | None:
        """Poll a last time."""
        return self._receipts.poll()

    def timeout_error(self) -> RavenError:
        """Return the error for deliveries that did not reach the state in time."""
        return self._receipts.timeout_error(self._timeout_s or 0.0)


class Deferred:
    """One request whose response comes later: when its condition holds, at its timeout, or when it is cancelled."""

    def __init__(self, host: Host, sink: Sink, condition: Condition, timeout_s: float | None) -> None:
        self._host = host
        self._condition = condition
        self._timeout_s = timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._done: Done = ignore
        self._encode: Callable[[Any], None] = lambda _: None
        self.poller = Poller(host, condition.executor, condition.listener, sink, self._fetch, self)

    def start(self, done: Done, encode: Callable[[Any], None]) -> None:
        """Begin to wait; `done` is called at the end, and before it `encode` with the value, in the thread.

        `encode` is called again with a later value if the transaction of the first is rolled back.
        """
        self._done, self._encode = done, encode
        if self._timeout_s is not None:
            self._timer = self._host.loop.call_later(self._timeout_s, self._time_out)
        self.poller.start()

    def capacity(self) -> int:
        """Return 1: one response is expected."""
        return 1

    def on_fetched(self, value: Any) -> None:
        """Complete with the value, or poll again in time if it is None."""
        if value is not None:
            self._complete(Outcome(value))
        elif not self.poller.is_closed and (next_due_s := self._condition.next_due_s()) is not None:
            self.poller.poll_after(next_due_s)

    def fail(self, error: Exception) -> None:
        """Complete with an error, and withdraw a request: no reply to it will be fetched."""
        self._withdraw()
        self._complete(Outcome(error=error))

    def cancel(self, error: RavenError | None = None) -> None:
        """Complete at once with an error; without one, `done` is not called, since the consumer has gone."""
        if error is None:
            self._done = ignore
        self._withdraw()
        self._complete(Outcome(error=error))

    def _fetch(self, max: int, notified: bool) -> Any:
        return self._encoded(self._condition.fetch(max, notified))

    def _final_poll(self) -> Any:
        return self._encoded(self._condition.final_poll())

    def _encoded(self, value: Any) -> Any:
        if value is not None:
            self._encode(value)
        return value

    def _withdraw(self) -> None:
        if self._condition.withdraw is not None and not self.poller.is_closed:
            self._host.executors[self._condition.executor].submit(self._condition.withdraw, ignore)

    def _time_out(self) -> None:
        self._host.executors[self._condition.executor].submit(self._final_poll, self._timed_out)

    def _timed_out(self, outcome: Outcome) -> None:
        error = outcome.error
        if error is None or (isinstance(error, RavenError) and error.retryable):
            error = None if outcome.value is not None else self._condition.timeout_error()
        self._complete(Outcome(outcome.value, error))

    def _complete(self, outcome: Outcome) -> None:
        if not self.poller.is_closed:
            self.poller.close()
            if self._timer is not None:
                self._timer.cancel()
            self._done(outcome)


class DeferredSet:
    """The deferred requests of one consumer: the open ones, and reservations for those about to start."""

    def __init__(self, host: Host, sink: Sink) -> None:
        self._host = host
        self._sink = sink
        self._open: set[Deferred] = set()
        self._reserved = 0
        self._stopped: RavenError | None = None

    def __len__(self) -> int:
        return len(self._open)

    def reserve(self) -> None:
        """Reserve one more; raises LimitError at the limit, and ClosedError once the host stops."""
        if self._stopped is not None:
            raise self._stopped
        if self._reserved >= MAX_DEFERRED:
            raise LimitError(
                f"{MAX_DEFERRED:,} requests of this connection wait, which is the limit: let some end first"
            )
        self._host.wait_quota.acquire()
        self._reserved += 1

    def release(self) -> None:
        """Release one reservation; `close` releases all."""
        if self._reserved:
            self._reserved -= 1
            self._host.wait_quota.release()

    def for_reply(self, pending: PendingRequest, timeout_s: float) -> Deferred:
        """Return a Deferred for the reply to a request that was sent."""
        return Deferred(self._host, self._sink, ReplyCondition(self._host, pending, self._sink), timeout_s)

    def for_receipts(self, receipts: ReceiptPoller, message_id: int, timeout_s: float | None) -> Deferred:
        """Return a Deferred for the receipts of a message; with `timeout_s` None it waits without limit."""
        listener = self._host.reader_bus.listener(receipts_of=message_id)
        return Deferred(self._host, self._sink, ReceiptCondition(receipts, listener, timeout_s), timeout_s)

    def start(self, deferred: Deferred, done: Done, encode: Callable[[Any], None]) -> None:
        """Start one; `done` is called at its end, and at once if the host stops."""
        self._open.add(deferred)

        def end(outcome: Outcome) -> None:
            self._open.discard(deferred)
            done(outcome)

        deferred.start(end, encode)
        if self._stopped is not None:
            deferred.cancel(self._stopped)

    def resume(self) -> None:
        """Poll for each one that paused until the consumer would read."""
        self._each(lambda deferred: deferred.poller.poll_if_needed())

    def tick(self, changed: bool) -> None:
        """Tick each poller, once a second."""
        self._each(lambda deferred: deferred.poller.tick(changed))

    def has_no_fifo(self) -> bool:
        """Whether one of them has no doorbell, and must poll more often."""
        return any(deferred.poller.has_no_fifo() for deferred in self._open)

    def stop(self) -> None:
        """Complete all with ClosedError at once, also later ones: the host stops."""
        stopped = self._stopped = ClosedError("the server is stopping")
        self._each(lambda deferred: deferred.cancel(stopped))

    def close(self) -> None:
        """Cancel all without a response: the consumer has gone."""
        self._each(lambda deferred: deferred.cancel())
        self._open.clear()
        self._host.wait_quota.release(self._reserved)
        self._reserved = 0

    def _each(self, action: Callable[[Deferred], None]) -> None:
        for deferred in list(self._open):
            action(deferred)
