"""StoreThread: the one thread of a relay that uses the bus file; it waits for doorbells, and for the event loop's jobs.

A doorbell wakes this thread itself: a message needs one change of threads on its way out, and one on its way in.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

Job = Callable[[], object]


class Work(Protocol):
    """What the thread does; all of it is called in the thread."""

    def open(self) -> None:
        """Begin; an exception ends the thread."""

    def bells(self) -> Mapping[int, Job]:
        """Return the descriptors to wait for, each with the job that reads it."""

    def step(self) -> float:
        """Do all that is due; return the seconds until more is. An exception ends the thread."""

    def close(self) -> None:
        """End; also called if `open` has failed."""


class StoreThread:
    """Runs the jobs that other threads submit, then a step of the work, whenever there is something to do.

    `on_end` is called in the thread when it has ended, with the exception that ended it, or None.
    """

    def __init__(self, work: Work, on_end: Callable[[BaseException | None], None]) -> None:
        self._work = work
        self._on_end = on_end
        self._jobs: deque[Job] = deque()
        self._is_stopping = False
        self._is_woken = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._thread = threading.Thread(target=self._run, name="raven-link-store", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, job: Job, *, wakes: bool = True) -> None:
        """Let the thread run a job; without `wakes`, before its next step. Any thread may call this."""
        self._jobs.append(job)
        if wakes:
            self.wake()

    def wake(self) -> None:
        """Let the thread run the jobs now. Any thread may call this."""
        if not self._is_woken:
            self._is_woken = True
            self._write()

    def stop(self) -> None:
        """End the thread after its current step; `on_end` is called then. A second call does nothing."""
        self._is_stopping = True
        self._write()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread, and return whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        for descriptor in (self._reader, self._writer):
            with suppress(OSError):
                os.close(descriptor)
        return True

    def _write(self) -> None:
        with suppress(OSError):  # full: a wake is under way
            os.write(self._writer, b"!")

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._work.open()
            while not self._is_stopping:
                self._run_jobs()
                self._wait(self._work.step())
            self._run_jobs()
        except BaseException as raised:
            error = raised
        try:
            self._work.close()
        except BaseException as raised:
            error = error or raised
        self._on_end(error)

    def _run_jobs(self) -> None:
        self._is_woken = False  # before the look: a job that comes now wakes again
        while self._jobs:
            self._jobs.popleft()()

    def _wait(self, timeout_s: float) -> None:
        bells = self._work.bells()
        poller = select.poll()  # a bell may have another descriptor than before
        for descriptor in (self._reader, *bells):
            if descriptor >= 0:
                poller.register(descriptor, select.POLLIN)
        for descriptor, _ in poller.poll(1000 * max(0.0, timeout_s)):
            if descriptor == self._reader:
                with suppress(OSError):
                    os.read(self._reader, 1 << 16)
            else:
                bells[descriptor]()
