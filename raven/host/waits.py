"""Waits: requests that are answered when something has come, however long that takes, and hold up nothing meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from raven.errors import ClosedError, LimitError, RavenError
from raven.host.host import Host
from raven.host.poller import Poller, Sink
from raven.host.worker import Done, Executor, Outcome, ignore
from raven.model.message import Message
from raven.model.status import Receipt
from raven.query.receipts import ReceiptPoller
from raven.receive.request import PendingRequest
from raven.wake.listener import Listener

if TYPE_CHECKING:
    import asyncio

MAX_WAITS = 1000


class Awaited(Protocol):
    """What a wait is for. `fetch`, `last_look` and `withdraw` run in the thread of `lane`, the rest on the event loop.

    A look returns None while nothing has come.
    """

    executor: Executor
    listener: Listener
    withdraw: Callable[[], None] | None  # to leave nothing behind if the wait is given up

    def fetch(self, max: int, notified: bool) -> Any:
        """Look; `notified` tells that the doorbell just was."""

    def due_s(self) -> float | None:
        """Return in how many seconds to look again unrung, or None."""

    def last_look(self) -> Any:
        """Look once more, the time being over; if that is in vain, withdraw."""

    def timeout_error(self) -> RavenError:
        """Return the error for what has not come in time."""


class Answer:
    """The answer to a request, acked as it is fetched."""

    executor: Executor = "write"

    def __init__(self, pending: PendingRequest, sink: Sink) -> None:
        self._pending = pending
        self._subscription = pending.pull_subscription()
        self._sink = sink
        self.listener = self._subscription.listener
        self.withdraw: Callable[[], None] | None = pending.withdraw

    def fetch(self, max: int, notified: bool) -> Message | None:
        """Take the answer if it is there."""
        messages = self._subscription.fetch(max, rung=notified)
        if messages:
            self._pending.cancel_others()
        return messages[0] if messages else None

    def due_s(self) -> float | None:
        """Return when an answer that was sent with a delay is ready."""
        return self._subscription.due_s()

    def last_look(self) -> Message | None:
        """Take the answer if it is there, and the consumer reads; else let nobody begin with the request any more."""
        answer = None
        if not self._sink.is_full:
            with suppress(RavenError):
                answer = self.fetch(1, notified=True)
        if answer is None:
            self._pending.withdraw()
        return answer

    def timeout_error(self) -> RavenError:
        """Return the error for an answer that has not come in time."""
        return self._pending.timeout_error()


class Receipts:
    """The receipts of a message, once its deliveries have come far enough."""

    executor: Executor = "read"

    def __init__(self, poller: ReceiptPoller, listener: Listener, timeout_s: float | None) -> None:
        self._poller = poller
        self._timeout_s = timeout_s
        self.listener = listener
        self.withdraw: Callable[[], None] | None = None

    def fetch(self, max: int, notified: bool) -> list[Receipt] | None:
        """Return the receipts if they have come so far."""
        return self._poller.poll()

    def due_s(self) -> float | None:
        """Return when a lease, a delay or a life ends."""
        return self._poller.due_s()

    def last_look(self) -> list[Receipt] | None:
        """Look once more."""
        return self._poller.poll()

    def timeout_error(self) -> RavenError:
        """Return the error for what has not come so far in time."""
        return self._poller.timeout_error(self._timeout_s or 0.0)


class Wait:
    """One request that waits: it ends when its awaited has come, or its time is over, or it is given up."""

    def __init__(self, host: Host, sink: Sink, awaited: Awaited, timeout_s: float | None) -> None:
        self._host = host
        self._awaited = awaited
        self._timeout_s = timeout_s
        self._alarm: asyncio.TimerHandle | None = None
        self._done: Done = ignore
        self.poller = Poller(host, awaited.executor, awaited.listener, sink, awaited.fetch, self)

    def begin(self, done: Done) -> None:
        """Wait, and call `done` at the end."""
        self._done = done
        if self._timeout_s is not None:
            self._alarm = self._host.loop.call_later(self._timeout_s, self._time_out)
        self.poller.start()

    def capacity(self) -> int:
        """Return one: there is one answer."""
        return 1

    def on_fetched(self, value: Any) -> None:
        """End with what has come; else look again in time."""
        if value is not None:
            self._end(Outcome(value))
        elif not self.poller.is_closed and (due_s := self._awaited.due_s()) is not None:
            self.poller.poll_after(due_s)

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self._end(Outcome(error=error))

    def give_up(self, error: RavenError | None = None) -> None:
        """End at once with an error, or untold: nobody waits any more."""
        if error is None:
            self._done = ignore
        if self._awaited.withdraw is not None and not self.poller.is_closed:
            self._host.executors[self._awaited.executor].submit(self._awaited.withdraw, ignore)
        self._end(Outcome(error=error))

    def _time_out(self) -> None:
        self._host.executors[self._awaited.executor].submit(self._awaited.last_look, self._timed_out)

    def _timed_out(self, outcome: Outcome) -> None:
        error = outcome.error
        if error is None or (isinstance(error, RavenError) and error.retryable):
            error = None if outcome.value is not None else self._awaited.timeout_error()
        self._end(Outcome(outcome.value, error))

    def _end(self, outcome: Outcome) -> None:
        if not self.poller.is_closed:
            self.poller.close()
            if self._alarm is not None:
                self._alarm.cancel()
            self._done(outcome)


class Waits:
    """The waits of one consumer: those that are open, and places for those that are about to begin."""

    def __init__(self, host: Host, sink: Sink) -> None:
        self._host = host
        self._sink = sink
        self._open: set[Wait] = set()
        self._taken = 0
        self._stopped: RavenError | None = None

    def __len__(self) -> int:
        return len(self._open)

    def admit(self) -> None:
        """Take a place for one more; raises LimitError where there is none, ClosedError once the host stops."""
        if self._stopped is not None:
            raise self._stopped
        if self._taken >= MAX_WAITS:
            raise LimitError(f"{MAX_WAITS:,} requests of this connection wait, which is the limit: let some end first")
        self._host.wait_quota.acquire()
        self._taken += 1

    def dismiss(self) -> None:
        """Give a place back; once this was closed it has given back all."""
        if self._taken:
            self._taken -= 1
            self._host.wait_quota.release()

    def for_answer(self, pending: PendingRequest, timeout_s: float) -> Wait:
        """Return a wait for the answer to a request that was sent."""
        return Wait(self._host, self._sink, Answer(pending, self._sink), timeout_s)

    def for_receipts(self, poller: ReceiptPoller, message_id: int, timeout_s: float | None) -> Wait:
        """Return a wait for the receipts that a poller reads; None waits for as long as it takes."""
        listener = self._host.reader_bus.listener(receipts_of=message_id)
        return Wait(self._host, self._sink, Receipts(poller, listener, timeout_s), timeout_s)

    def begin(self, wait: Wait, done: Done) -> None:
        """Let one wait; `done` is called at its end, at once where the host stops."""
        self._open.add(wait)

        def end(outcome: Outcome) -> None:
            self._open.discard(wait)
            done(outcome)

        wait.begin(end)
        if self._stopped is not None:
            wait.give_up(self._stopped)

    def resume(self) -> None:
        """Fetch what waited for the consumer to read."""
        self._each(lambda wait: wait.poller.poll_if_needed())

    def tick(self, changed: bool) -> None:
        """Once a second."""
        self._each(lambda wait: wait.poller.tick(changed))

    def has_no_fifo(self) -> bool:
        """Whether one of them has no doorbell, and must look more often."""
        return any(wait.poller.has_no_fifo() for wait in self._open)

    def stop(self) -> None:
        """Answer them all at once, and those that are still to come: the host stops."""
        stopped = self._stopped = ClosedError("the server is stopping")
        self._each(lambda wait: wait.give_up(stopped))

    def close(self) -> None:
        """Give them all up: nobody is there to be answered."""
        self._each(lambda wait: wait.give_up())
        self._open.clear()
        self._host.wait_quota.release(self._taken)
        self._taken = 0

    def _each(self, action: Callable[[Wait], None]) -> None:
        for wait in list(self._open):
            action(wait)
