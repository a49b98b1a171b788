"""Work: what a method leaves to be done off the event loop, and the threads that do it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Literal, NamedTuple

from raven import BusClient, BusyError, RavenError

MAX_GROUP = 200

Lane = Literal["write", "read", "loop"]


def identity(value: Any) -> Any:
    """Return the value as it is."""
    return value


class Work(NamedTuple):
    """A step of one request: `run` it in its lane, then `answer` with what it returned, as JSON.

    The lanes are the writer's thread, the reader's, and the event loop itself once all before it is done. `after` is
    run on the event loop when it has succeeded, after the answer.
    """

    lane: Lane
    run: Callable[[], Any]
    answer: Callable[[Any], Any] = identity
    after: Callable[[Any], None] | None = None


class Outcome(NamedTuple):
    """What became of a job: a value, or an error."""

    value: Any = None
    error: Exception | None = None


Done = Callable[[Outcome], None]
_Job = tuple[Callable[[], Any], Done]


class Worker:
    """A thread that does jobs in the order in which they come, and tells the event loop what became of each."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[], Any], done: Done) -> None:
        """Have `run` called in the thread, then `done` on the event loop."""
        self._jobs.put((run, done))

    def waiting(self) -> int:
        """Return about how many jobs wait."""
        return self._jobs.qsize()

    def close(self, timeout_s: float) -> bool:
        """Finish what was submitted, and end the thread; returns whether that was done in time."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        is_open = True
        while is_open:
            jobs, is_open = self._take()
            outcomes = self._perform(jobs) if jobs else []
            self._loop.call_soon_threadsafe(_tell, jobs, outcomes)

    def _take(self) -> tuple[list[_Job], bool]:
        """Return the jobs that are there, at least one, and whether there will be more."""
        jobs = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == MAX_GROUP:
                return jobs, True
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False

    def _perform(self, jobs: list[_Job]) -> list[Outcome]:
        return [attempt(run) for run, _ in jobs]


class Writer(Worker):
    """The one thread that writes: what waits together is committed together, and each job still fails alone."""

    def __init__(self, bus: BusClient, loop: asyncio.AbstractEventLoop, *, groups: bool = True) -> None:
        self._bus = bus
        self._groups = groups
        self.commits = 0
        super().__init__("raven-writer", loop)

    def _perform(self, jobs: list[_Job]) -> list[Outcome]:
        self.commits += 1
        if len(jobs) > 1 and self._groups:
            try:
                with self._bus.transaction():
                    return [attempt(run) for run, _ in jobs]
            except BusyError as error:
                return [Outcome(error=error)] * len(jobs)
            except RavenError:
                # One of them may have been too much for the disk: now each on its own.
                pass
        self.commits += len(jobs) - 1
        return super()._perform(jobs)


def attempt(run: Callable[[], Any]) -> Outcome:
    """Call `run` and return what became of it, whatever that was."""
    try:
        return Outcome(run())
    except RavenError as error:
        return Outcome(error=error)
    except Exception as error:
        logging.getLogger("raven").exception("a request failed unexpectedly")
        return Outcome(error=error)


def _tell(jobs: list[_Job], outcomes: list[Outcome]) -> None:
    for (_, done), outcome in zip(jobs, outcomes, strict=True):
        done(outcome)
