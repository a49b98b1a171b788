"""Waits: requests that are answered when something has come, however long that takes, and hold up nothing meanwhile."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from raven import ClosedError, LimitError, Listener, Message, Question, RavenError, Receipt, Tracker
from raven_rpc.server.poller import Fetcher, ignore
from raven_rpc.server.worker import Done, Lane, Outcome

if TYPE_CHECKING:
    from raven_rpc.server.connection import Connection
    from raven_rpc.server.server import Server

MAX_WAITS = 1000


class Wait(Fetcher):
    """One request that waits: it ends when what it waits for has come, or its time is over, or it is given up."""

    def __init__(self, server: Server, connection: Connection, listener: Listener, timeout_s: float | None) -> None:
        super().__init__(server, connection, listener)
        self._timeout_s = timeout_s
        self._alarm: asyncio.TimerHandle | None = None
        self._done: Done = ignore

    @abstractmethod
    def due_s(self) -> float | None:
        """Return in how many seconds to look again unrung, or None."""

    @abstractmethod
    def last_look(self) -> Any:
        """Fetch once more, the time being over, and where that is in vain withdraw; runs in the thread of the lane."""

    @abstractmethod
    def too_late(self) -> RavenError:
        """Return the error for what has not come in time."""

    def begin(self, done: Done) -> None:
        """Wait, and call `done` at the end."""
        self._done = done
        if self._timeout_s is not None:
            self._alarm = self._loop.call_later(self._timeout_s, self._time_out)
        self.start()

    def room(self) -> int:
        """Return one: there is one answer."""
        return 1

    def fetched(self, outcome: Outcome) -> None:
        """Deal with what came of a fetch, and look again where it rang meanwhile."""
        super().fetched(outcome)
        self.go_on()

    def take_in(self, value: Any) -> None:
        """End with what has come; else look again in time."""
        if value is not None:
            self._end(Outcome(value))
        elif not self._is_closed and (due := self.due_s()) is not None:
            self.look_in(due)

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self._end(Outcome(error=error))

    def give_up(self, error: RavenError | None = None) -> None:
        """End at once with an error, or untold: nobody waits any more."""
        if error is None:
            self._done = ignore
        self._end(Outcome(error=error))

    def close(self) -> None:
        """Look no more, and let go of all that is held."""
        super().close()
        if self._alarm is not None:
            self._alarm.cancel()

    def _time_out(self) -> None:
        self._server.submit(self.lane, self.last_look, self._timed_out)

    def _timed_out(self, outcome: Outcome) -> None:
        error = outcome.error
        if error is None or (isinstance(error, RavenError) and error.retryable):
            error = None if outcome.value is not None else self.too_late()
        self._end(Outcome(outcome.value, error))

    def _end(self, outcome: Outcome) -> None:
        if not self._is_closed:
            self.close()
            self._done(outcome)


class AnswerWait(Wait):
    """Waits for the answer to a question."""

    def __init__(self, server: Server, connection: Connection, question: Question, timeout_s: float) -> None:
        self._question = question
        self._subscription = question.subscription()
        super().__init__(server, connection, self._subscription.listener, timeout_s)

    def fetch(self, max: int, rung: bool) -> Message | None:
        """Take the answer, acked, if it is there."""
        messages = self._subscription.fetch(max, rung=rung)
        if messages:
            self._question.spare_others()
        return messages[0] if messages else None

    def due_s(self) -> float | None:
        """Return when an answer that was sent with a delay is ready."""
        return self._subscription.due_s()

    def last_look(self) -> Message | None:
        """Take the answer if it is there, and the client reads; else let nobody begin with the request any more."""
        answer = None
        if not self._connection.is_full():
            with suppress(RavenError):
                answer = self.fetch(1, rung=True)
        if answer is None:
            self._question.withdraw()
        return answer

    def too_late(self) -> RavenError:
        """Return the error for an answer that has not come in time."""
        return self._question.too_late()

    def give_up(self, error: RavenError | None = None) -> None:
        """Withdraw the request."""
        if not self._is_closed:
            self._server.submit("write", self._question.withdraw, ignore)
        super().give_up(error)


class ReceiptWait(Wait):
    """Waits until the deliveries of a message have come far enough."""

    lane: Lane = "read"

    def __init__(
        self, server: Server, connection: Connection, message_id: int, tracker: Tracker, timeout_s: float | None
    ) -> None:
        self._tracker = tracker
        super().__init__(server, connection, server.reader_bus.listener(receipts_of=message_id), timeout_s)

    def fetch(self, max: int, rung: bool) -> list[Receipt] | None:
        """Return the receipts if they have come so far."""
        return self._tracker.look()

    def due_s(self) -> float | None:
        """Return when a lease, a delay or a life ends."""
        return self._tracker.due_s()

    def last_look(self) -> list[Receipt] | None:
        """Look once more."""
        return self._tracker.look()

    def too_late(self) -> RavenError:
        """Return the error for what has not come so far in time."""
        return self._tracker.too_late(self._timeout_s or 0.0)


class Waits:
    """The waits of one connection: those that are open, and places for those that are about to begin."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._open: set[Wait] = set()
        self._taken = 0
        self._stopped: RavenError | None = None

    def __len__(self) -> int:
        return len(self._open)

    def admit(self) -> None:
        """Take a place for one more; raises LimitError where there is none, ClosedError once the helper stops."""
        if self._stopped is not None:
            raise self._stopped
        if self._taken >= MAX_WAITS:
            raise LimitError(f"{MAX_WAITS:,} requests of this connection wait, which is the limit: let some end first")
        self._server.places.take()
        self._taken += 1

    def dismiss(self) -> None:
        """Give a place back; once this was closed it has given back all."""
        if self._taken:
            self._taken -= 1
            self._server.places.give_back()

    def begin(self, wait: Wait, done: Done) -> None:
        """Let one wait; `done` is called at its end, at once where the helper stops."""
        self._open.add(wait)

        def end(outcome: Outcome) -> None:
            self._open.discard(wait)
            done(outcome)

        wait.begin(end)
        if self._stopped is not None:
            wait.give_up(self._stopped)

    def go_on(self) -> None:
        """Fetch what waited for the client to read."""
        self._each(lambda wait: wait.go_on())

    def tick(self, changed: bool) -> None:
        """Once a second."""
        self._each(lambda wait: wait.tick(changed))

    def is_deaf(self) -> bool:
        """Whether one of them has no doorbell, and must look more often."""
        return any(wait.is_deaf() for wait in self._open)

    def stop(self) -> None:
        """Answer them all at once, and those that are still to come: the helper stops."""
        stopped = self._stopped = ClosedError("the helper is stopping")
        self._each(lambda wait: wait.give_up(stopped))

    def close(self) -> None:
        """Give them all up: nobody is there to be answered."""
        self._each(lambda wait: wait.give_up())
        self._open.clear()
        self._server.places.give_back(self._taken)
        self._taken = 0

    def _each(self, action: Callable[[Wait], None]) -> None:
        for wait in list(self._open):
            action(wait)
