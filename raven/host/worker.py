"""Worker: a thread that runs blocking jobs of an event loop, and reports each outcome to that loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import thread_time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from raven.errors import BusyError, RavenError
from raven.store.sql.rows import LongPageError, ShortPage

if TYPE_CHECKING:
    import asyncio

    from raven.host.bus import HostedBus

# At most this many jobs are committed together; at most this weight on the event loop: about two milliseconds.
MAX_GROUP = 200
MAX_WEIGHT_ON_LOOP = 100
# A write on the event loop reads messages with at most this many bytes of JSON; longer ones are read in the thread.
_MAX_BYTES_ON_LOOP = 256 * 1024
# A group of jobs is committed when it has taken so much CPU time: other processes wait no longer for the file.
_GROUP_S = 0.005
# A WAL over this size is checkpointed, in the thread: a checkpoint waits for the disk.
_MAX_WAL = 16 * 1024 * 1024
_CHECK_WAL_EVERY = 20
_OTHERS_FIRST = 10

# The threads of a host: the writer, the reader, and the one for long administrative work.
# "log" is the reader as well, for reads of the log, which go on for as long as others let them.
Executor = Literal["write", "read", "admin", "log"]


class Outcome(NamedTuple):
    """The outcome of a job: its value, or its error."""

    value: Any = None
    error: Exception | None = None


Done = Callable[[Outcome], None]


class Job(NamedTuple):
    """A function to run, and a callback that gets its outcome on the event loop."""

    run: Callable[[], Any]
    done: Done


class _LaterJob(Job):
    """A job of `log`."""


class Worker:
    """A thread that runs jobs in the order of their submission, and reports each outcome to the event loop.

    It calls `on_batch_done` on the event loop after the callbacks of all jobs of a batch.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, on_batch_done: Callable[[], None]) -> None:
        self._loop = loop
        self._on_batch_done = on_batch_done
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._in_flight = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[], Any], done: Done, weight: int = 1, owner: object = None) -> None:
        """Call `run` in the thread, then `done` on the event loop. Call this on the event loop.

        `weight` is about how many messages the job handles, `owner` the consumer that submits it. Only a Writer uses
        both.
        """
        self._enqueue([Job(run, done)])

    def pending(self) -> int:
        """Return how many jobs are queued or running."""
        return self._in_flight

    def end(self) -> None:
        """End the thread after all submitted jobs."""
        self._queue.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread; returns whether it ended in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _enqueue(self, jobs: list[Job]) -> None:
        self._in_flight += len(jobs)
        for job in jobs:
            self._queue.put(job)

    def _run(self) -> None:
        is_open = True
        while is_open:
            jobs, is_open = self._next_batch()
            while jobs:
                try:
                    outcomes = self._run_batch(jobs)
                except Exception as error:  # the thread must survive any error
                    _log("requests failed unexpectedly")
                    outcomes = [Outcome(error=error)] * len(jobs)
                done, jobs = jobs[: len(outcomes)], jobs[len(outcomes) :]
                with suppress(RuntimeError):  # the event loop is closed already
                    self._loop.call_soon_threadsafe(self._on_batch, done, outcomes)

    def _next_batch(self) -> tuple[list[Job], bool]:
        """Wait for jobs; returns the next batch, and whether more may follow."""
        job = self._queue.get()
        return ([], False) if job is None else ([job], True)

    def _run_batch(self, jobs: list[Job]) -> list[Outcome]:
        """Run jobs, at least the first; returns the outcomes of those that it has run."""
        return [capture(job.run) for job in jobs]

    def _on_batch(self, jobs: list[Job], outcomes: list[Outcome]) -> None:
        self._in_flight -= len(jobs)
        self._notify(jobs, outcomes)

    def _notify(self, jobs: list[Job], outcomes: list[Outcome]) -> None:
        for job, outcome in zip(jobs, outcomes, strict=True):
            try:
                job.done(outcome)
            except Exception:  # one failing callback must not stop the others
                _log("the callback of a request failed")
        self._on_batch_done()


class Reader(Worker):
    """The reader: jobs of `log` run when no other job waits, or after ten others.

    So a client that reads a long log, window by window, delays a read of another by one window at most.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, on_batch_done: Callable[[], None]) -> None:
        self._later: deque[Job] = deque()
        self._next: deque[Job | None] = deque()
        self._others = 0  # jobs that have run since the last one of `log`
        self.log = LogReader(self)
        super().__init__(name, loop, on_batch_done)

    def submit_later(self, run: Callable[[], Any], done: Done) -> None:
        """Submit a job of `log`, as `submit` does."""
        self._in_flight += 1
        self._queue.put(_LaterJob(run, done))

    def _next_batch(self) -> tuple[list[Job], bool]:
        while True:
            if not self._next and not self._later:
                self._sort(self._queue.get())
            with suppress(Empty):
                while True:
                    self._sort(self._queue.get_nowait())
            if self._later and (not self._next or self._others >= _OTHERS_FIRST):
                self._others = 0
                return [self._later.popleft()], True
            job = self._next.popleft()
            if job is None:
                return list(self._later), False
            self._others += 1
            return [job], True

    def _sort(self, job: Job | None) -> None:
        if isinstance(job, _LaterJob):
            self._later.append(job)
        else:
            self._next.append(job)


class LogReader:
    """The reader, as an executor for reads of the log."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def submit(self, run: Callable[[], Any], done: Done, weight: int = 1, owner: object = None) -> None:
        """Submit a read of one window of the log."""
        self._reader.submit_later(run, done)


class Writer(Worker):
    """The writer: jobs submitted together are committed together, and each job still fails alone.

    A few light writes run on the event loop itself if they need not wait, because a round trip to the thread takes
    longer than the commit. The write of the only active client runs at once, because collecting the writes of others
    costs one turn of the event loop. While another process writes, or the thread has work, all jobs go to the thread,
    in order. With `groups` false only the thread writes, each job in a transaction of its own.
    """

    def __init__(
        self,
        bus: HostedBus,
        loop: asyncio.AbstractEventLoop,
        on_batch_done: Callable[[], None],
        *,
        on_loop: bool,
        groups: bool,
    ) -> None:
        self._bus = bus
        self._on_loop = on_loop and groups
        self._groups = groups
        self._pending: list[Job] = []
        self._weight = 0
        # The common owner of all pending writes, and that of the last batch; None if they have several.
        self._owner: object = None
        self._last_owner: object = None
        self._is_inline = False  # while it commits on the event loop
        self.commits = 0
        super().__init__("raven-writer", loop, on_batch_done)

    def submit(self, run: Callable[[], Any], done: Done, weight: int = 1, owner: object = None) -> None:
        """Submit a job as a Worker does; jobs of the same turn of the event loop form one batch."""
        if not self._pending:
            self._loop.call_soon(self._flush_turn)
            self._owner = owner
        elif owner is not self._owner:
            self._owner = None
        self._pending.append(Job(run, done))
        self._weight += weight

    def try_inline(self, run: Callable[[], Any], weight: int, owner: object) -> Outcome | None:
        """Run a light write at once if `owner` wrote last and no other write is pending; otherwise return None."""
        is_alone = owner is self._last_owner and not self._pending and not self._in_flight
        if not is_alone or not self._on_loop or weight > MAX_WEIGHT_ON_LOOP:
            return None
        outcomes = self._commit_inline([Job(run, ignore)])
        return outcomes[0] if outcomes else None

    def page_bytes(self, most: int) -> int:
        """Return `most` for the `max_bytes` of a running job; a ShortPage on the event loop, then a thread runs it."""
        return ShortPage(min(most, _MAX_BYTES_ON_LOOP)) if self._is_inline else most

    def pending(self) -> int:
        """Return how many jobs are queued or running."""
        return self._in_flight + len(self._pending)

    def end(self) -> None:
        """End the thread after all submitted jobs."""
        self._enqueue(self._pending)
        self._pending, self._weight = [], 0
        super().end()

    def _flush_turn(self) -> None:
        """Write the jobs of this turn of the event loop: here if they are light, otherwise in the thread."""
        jobs, self._pending = self._pending, []
        weight, self._weight = self._weight, 0
        self._last_owner = self._owner
        if jobs and self._on_loop and weight <= MAX_WEIGHT_ON_LOOP and not self._in_flight:
            outcomes = self._commit_inline(jobs)
            if outcomes:
                self._notify(jobs[: len(outcomes)], outcomes)
                jobs = jobs[len(outcomes) :]
        if jobs:
            self._enqueue(jobs)

    def _commit_inline(self, jobs: list[Job]) -> list[Outcome]:
        """Commit on the event loop, as `_commit` does; returns an empty list if that would take long.

        The usual reason is another writer. The thread then waits for it, and reports any other error.
        """
        outcomes: list[Outcome] = []
        self._is_inline = True
        with suppress(Exception):
            outcomes = self._bus.no_wait(partial(self._commit, jobs))
        self._is_inline = False
        # The thread checkpoints the WAL when it has grown.
        if outcomes and self.commits % _CHECK_WAL_EVERY == 0 and self._bus.wal_size() > _MAX_WAL:
            self._enqueue([Job(self._bus.checkpoint, ignore)])
        return outcomes

    def _next_batch(self) -> tuple[list[Job], bool]:
        jobs, is_open = super()._next_batch()
        with suppress(Empty):
            while is_open and self._groups and len(jobs) < MAX_GROUP:
                job = self._queue.get_nowait()
                if job is None:
                    return jobs, False
                jobs.append(job)
        return jobs, is_open

    def _run_batch(self, jobs: list[Job]) -> list[Outcome]:
        if self._bus.wal_size() > _MAX_WAL:
            capture(self._bus.checkpoint)
        try:
            return self._commit(jobs)
        except BusyError as error:
            return [Outcome(error=error)] * len(jobs)
        except RavenError:
            # One job alone may have failed the commit, with a full disk for example: run each in its own transaction.
            self.commits += len(jobs)
            return super()._run_batch(jobs)

    def _commit(self, jobs: list[Job]) -> list[Outcome]:
        """Run jobs in one transaction, which ends after `_GROUP_S`; raises the error that prevented the commit.

        Returns the outcomes of the jobs that it has run, at least of the first.
        """
        if len(jobs) == 1:
            outcomes = [capture(jobs[0].run)]
            if isinstance(outcomes[0].error, BusyError):
                raise outcomes[0].error
        else:
            outcomes = []
            end = thread_time() + _GROUP_S
            with self._bus.atomic():
                for job in jobs:
                    outcomes.append(capture(job.run))
                    if isinstance(outcomes[-1].error, LongPageError):
                        raise outcomes[-1].error
                    if thread_time() > end:
                        break
        self.commits += 1
        return outcomes


def capture(run: Callable[[], Any]) -> Outcome:
    """Call `run` and return its outcome; an exception becomes `Outcome.error`."""
    try:
        return Outcome(run())
    except RavenError as error:
        return Outcome(error=error)
    except Exception as error:
        _log("a request failed unexpectedly")
        return Outcome(error=error)


def ignore(outcome: Outcome) -> None:
    """Discard an outcome: failed maintenance is repeated later, and leases end by themselves."""


def _log(text: str) -> None:
    import logging

    logging.getLogger("raven").exception(text)
