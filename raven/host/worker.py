"""Worker: a thread that does what must be kept off the event loop, and tells the event loop what became of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from raven.errors import BusyError, RavenError

if TYPE_CHECKING:
    import asyncio

    from raven.host.bus import HostedBus

# So much is committed together at most, and so much of it on the event loop: about two milliseconds.
MAX_GROUP = 200
MAX_WEIGHT_ON_LOOP = 100
# From this size on the WAL is written back, in the thread: that waits for the disk.
_MAX_WAL = 16 * 1024 * 1024
_LOOK_AT_WAL_EVERY = 20

# The threads of a host: that which writes, that which reads, and that of what takes long.
Lane = Literal["write", "read", "upkeep"]


class Outcome(NamedTuple):
    """What became of a job: a value, or an error."""

    value: Any = None
    error: Exception | None = None


Done = Callable[[Outcome], None]


class Job(NamedTuple):
    """Something to be run, and who on the event loop is told what became of it."""

    run: Callable[[], Any]
    done: Done


class Worker:
    """A thread that does jobs in the order in which they come, and tells the event loop what became of each.

    `told` is called on the event loop when all that was done together has been told.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, told: Callable[[], None]) -> None:
        self._loop = loop
        self._told = told
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._in_flight = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[], Any], done: Done, weight: int = 1, by: object = None) -> None:
        """Have `run` called, then `done` on the event loop, which is where this must be called.

        `weight` is about how many messages it handles, and `by` whose it is; both matter to a Writer only.
        """
        self._hand_over([Job(run, done)])

    def waiting(self) -> int:
        """Return how many jobs are not done yet."""
        return self._in_flight

    def end(self) -> None:
        """Let the thread finish what was submitted, and end."""
        self._queue.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread; returns whether it came in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _hand_over(self, jobs: list[Job]) -> None:
        self._in_flight += len(jobs)
        for job in jobs:
            self._queue.put(job)

    def _run(self) -> None:
        is_open = True
        while is_open:
            jobs, is_open = self._take()
            try:
                outcomes = self._perform(jobs)
            except Exception as error:  # the thread goes on, whatever came
                _log("requests failed unexpectedly")
                outcomes = [Outcome(error=error)] * len(jobs)
            with suppress(RuntimeError):  # the event loop did not wait for this to end
                self._loop.call_soon_threadsafe(self._finish, jobs, outcomes)

    def _take(self) -> tuple[list[Job], bool]:
        """Wait for jobs and return those that are to be done now, and whether there will be more."""
        job = self._queue.get()
        return ([], False) if job is None else ([job], True)

    def _perform(self, jobs: list[Job]) -> list[Outcome]:
        return [attempt(job.run) for job in jobs]

    def _finish(self, jobs: list[Job], outcomes: list[Outcome]) -> None:
        self._in_flight -= len(jobs)
        self._tell(jobs, outcomes)

    def _tell(self, jobs: list[Job], outcomes: list[Outcome]) -> None:
        for job, outcome in zip(jobs, outcomes, strict=True):
            try:
                job.done(outcome)
            except Exception:  # the others are told all the same
                _log("the outcome of a request could not be told")
        self._told()


class Writer(Worker):
    """Writes: what comes together is committed together, and each job still fails alone.

    A few light writes are made on the event loop itself, where nothing is to be waited for: to wake a thread and to be
    woken by it takes longer than the commit. The write of a client that is alone is made at once; to wait for those of
    others costs a turn of the event loop. While another writer is in the way, or the thread has work, all goes to
    the thread, in order. With `groups` false the thread alone writes, each job in a transaction of its own.
    """

    def __init__(
        self,
        bus: HostedBus,
        loop: asyncio.AbstractEventLoop,
        told: Callable[[], None],
        *,
        on_loop: bool,
        groups: bool,
    ) -> None:
        self._bus = bus
        self._on_loop = on_loop and groups
        self._groups = groups
        self._pending: list[Job] = []
        self._weight = 0
        # Whose all the pending writes are, and all that were written last; None where they are of several.
        self._by: object = None
        self._last_by: object = None
        self.commits = 0
        super().__init__("raven-writer", loop, told)

    def submit(self, run: Callable[[], Any], done: Done, weight: int = 1, by: object = None) -> None:
        """Do as a Worker does, with all that is submitted in the same turn of the event loop."""
        if not self._pending:
            self._loop.call_soon(self._begin)
            self._by = by
        elif by is not self._by:
            self._by = None
        self._pending.append(Job(run, done))
        self._weight += weight

    def write_alone(self, run: Callable[[], Any], weight: int, by: object) -> Outcome | None:
        """Do a light write at once, if `by` was the last to write and is probably alone again; else return None."""
        is_alone = by is self._last_by and not self._pending and not self._in_flight
        if not is_alone or not self._on_loop or weight > MAX_WEIGHT_ON_LOOP:
            return None
        outcomes = self._commit_at_once([Job(run, ignore)])
        return outcomes[0] if outcomes else None

    def waiting(self) -> int:
        """Return how many jobs are not done yet."""
        return self._in_flight + len(self._pending)

    def end(self) -> None:
        """Let the thread finish what was submitted, and end."""
        self._hand_over(self._pending)
        self._pending, self._weight = [], 0
        super().end()

    def _begin(self) -> None:
        """Write what was submitted in this turn of the event loop: here if it is light, else in the thread."""
        jobs, self._pending = self._pending, []
        weight, self._weight = self._weight, 0
        self._last_by = self._by
        if jobs and self._on_loop and weight <= MAX_WEIGHT_ON_LOOP and not self._in_flight:
            outcomes = self._commit_at_once(jobs)
            if outcomes:
                return self._tell(jobs, outcomes)
        return self._hand_over(jobs)

    def _commit_at_once(self, jobs: list[Job]) -> list[Outcome]:
        """Commit on the event loop, or return nothing where that would have to wait.

        Mostly another writer is in the way: the thread has the patience, and tells what else it was.
        """
        outcomes: list[Outcome] = []
        with suppress(Exception), self._bus.no_wait():
            outcomes = self._commit(jobs)
        # Now and then the thread writes the WAL back.
        if outcomes and self.commits % _LOOK_AT_WAL_EVERY == 0 and self._bus.wal_size() > _MAX_WAL:
            self._hand_over([Job(self._bus.checkpoint, ignore)])
        return outcomes

    def _take(self) -> tuple[list[Job], bool]:
        jobs, is_open = super()._take()
        with suppress(Empty):
            while is_open and self._groups and len(jobs) < MAX_GROUP:
                job = self._queue.get_nowait()
                if job is None:
                    return jobs, False
                jobs.append(job)
        return jobs, is_open

    def _perform(self, jobs: list[Job]) -> list[Outcome]:
        if self._bus.wal_size() > _MAX_WAL:
            attempt(self._bus.checkpoint)
        try:
            return self._commit(jobs)
        except BusyError as error:
            return [Outcome(error=error)] * len(jobs)
        except RavenError:
            # One of them may have been too much for the disk: now each on its own.
            self.commits += len(jobs)
            return super()._perform(jobs)

    def _commit(self, jobs: list[Job]) -> list[Outcome]:
        """Do all jobs in one transaction; raises what kept that from being committed."""
        if len(jobs) == 1:
            outcomes = [attempt(jobs[0].run)]
            if isinstance(outcomes[0].error, BusyError):
                raise outcomes[0].error
        else:
            with self._bus.group():
                outcomes = [attempt(job.run) for job in jobs]
        self.commits += 1
        return outcomes


def attempt(run: Callable[[], Any]) -> Outcome:
    """Call `run` and return what became of it, whatever that was."""
    try:
        return Outcome(run())
    except RavenError as error:
        return Outcome(error=error)
    except Exception as error:
        _log("a request failed unexpectedly")
        return Outcome(error=error)


def ignore(outcome: Outcome) -> None:
    """Whatever came of it: what could not be done now is done later, or ends by its time."""


def _log(what: str) -> None:
    import logging

    logging.getLogger("raven").exception(what)
