"""The WAL watcher: one process per bus notices external writers, which do not ring, and rings for them.

It also runs the maintenance that is due by the clock, so that no other process needs to poll for it.

Each process that waits at a doorbell tries to lock a file in the bells folder. The one that holds the lock watches the
database's folder in a thread. It watches the folder, not the WAL: a watch on the WAL itself would end when SQLite
deletes and recreates it. An event can precede its commit's visibility, so each event leads to several checks. When the
elected process dies, the kernel releases the lock and another process takes over within its tick, a second at most.

If inotify is unavailable (all instances in use, an unusual file system), the elected process polls every 100 ms for
all. It retries inotify every few seconds.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple
from weakref import WeakSet

from raven.errors import RavenError
from raven.store import fork_safety
from raven.store.database import Store
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells
from raven.wake.maintenance import Maintenance
from raven.wake.stop import StopFlag

LOCK_NAME = "watch.lock"
FALLBACK_POLL_S = 0.1
# Used-up inotify instances may be free again after this time.
_RETRY_S = 3.0
# watchfiles delivers events after a step without further events, at the latest after the debounce.
_STEP_MS = 20
_DEBOUNCE_MS = 60
# The interval of checks without an event: for commits before the watch began, and for the one event in a hundred that
# watchfiles never delivers (measured, two processes).
_IDLE_CHECK_MS = 50
_RECHECK_DELAYS_S = (0.002, 0.005, 0.01, 0.03)


def probe(folder: str, timeout_s: float) -> bool:
    """Write a file into an empty folder; return whether its event came in time. OSError: no watch can be set."""
    import watchfiles

    stop = threading.Event()
    watch = watchfiles.watch(
        folder, step=_STEP_MS, rust_timeout=_STEP_MS, yield_on_timeout=True, recursive=False, stop_event=stop
    )
    try:
        next(watch)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    with open(os.path.join(folder, "probe"), "w", encoding="utf-8") as file:
        file.write("raven")
    deadline = time.monotonic() + timeout_s
    try:
        return any(changes or time.monotonic() > deadline for changes in watch) and time.monotonic() <= deadline
    finally:
        stop.set()


class _Election(NamedTuple):
    """The watching thread, its stop flag, and the lock file's descriptor."""

    thread: threading.Thread | None
    stop: StopFlag
    lock_fd: int


class WalWatcher:
    """A candidate for the WAL watcher of one bus, shared by all listeners in this process.

    It holds resources only after an `acquire` and a `try_elect`, and until the last `release`. Between two checks it
    runs the due maintenance on the watching thread's own connection; `on_idle` ends leases, delays and lifetimes.
    """

    def __init__(self, store: Store, doorbells: Doorbells, on_idle: Callable[[Store], object]) -> None:
        self._on_idle = on_idle
        self._store = store
        self._doorbells = doorbells
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._users: set[object] = set()
        self._unclosed: list[int] = []  # the locks of ended elections, until they are closed
        self._lock_fd = -1
        self._thread: threading.Thread | None = None
        self._last: threading.Thread | None = None  # the watching thread before, which may be at its end
        self._stop = StopFlag()
        self._releases: deque[object] = deque()  # by finalizers and event loops, not yet counted

    def acquire(self, user: object) -> None:
        """Add a listener, given as an object that stands for it alone, also after its end."""
        if self._pid != os.getpid():  # a forked child's inherited watcher belongs to the parent
            self._reset()
        with self._lock:
            self._users.add(user)
        self._count_releases()

    def release(self, user: object, *, may_wait: bool = True) -> None:
        """Remove a listener; the last one ends the watch, so that another process can take over.

        Without `may_wait` it waits neither for a lock nor for the end of the thread, for a finalizer or an event loop.
        """
        if not may_wait:
            self._releases.append(user)
            self._count_releases()
            return
        with self._lock:
            self._users.discard(user)
            ended = self._resign() if not self._users else None
        self._end(ended)
        self._count_releases()

    def _count_releases(self) -> None:
        """Count the releases that could not wait, unless this or another thread holds the lock.

        The next listener then counts them, or the watching thread.
        """
        is_owned: bool = self._lock._is_owned()  # type: ignore[attr-defined]
        while self._releases and not is_owned and self._lock.acquire(blocking=False):
            try:
                with suppress(IndexError):
                    self._users.discard(self._releases.popleft())
                self._end(self._resign() if not self._users else None, may_wait=False)
            finally:
                self._lock.release()

    def try_elect(self) -> None:
        """Become the WAL watcher unless another process is; cheap enough to call at every tick."""
        self._count_releases()
        if self._thread is not None and self._thread.is_alive():
            return
        # OSError: another process is the watcher. RuntimeError: no more threads. Without free descriptors an import
        # raises OSError or ImportError.
        with self._lock, suppress(OSError, RuntimeError, ImportError):
            if not self._users or (self._thread is not None and self._thread.is_alive()):
                return
            # Imported here because `signal` is a large module that senders do not need. Not imported in the thread,
            # because a signal could arrive during the import.
            import fcntl
            import signal

            block = partial(signal.pthread_sigmask, signal.SIG_BLOCK, signal.valid_signals())
            if self._lock_fd < 0:
                self._open_lock()
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._stop = StopFlag()
            self._thread = threading.Thread(
                target=self._run, args=(self._stop, block, self._last), name="raven-wal-watcher", daemon=True
            )
            self._thread.start()
            return
        if self._thread is not None:
            with self._lock:
                ended = self._resign()
            self._end(ended)

    def _open_lock(self) -> None:
        opened: list[int] = []
        try:
            self._doorbells.open_lock(LOCK_NAME, opened)
            self._lock_fd = opened[0]
            fork_safety.close_on_fork(self._lock_fd)
        finally:
            if opened and self._lock_fd < 0:  # a signal handler has raised
                os.close(opened[0])

    def _resign(self) -> _Election:
        """Give up the thread and the lock, so that the caller can end them without holding `self._lock`."""
        election, stop = _Election(self._thread, self._stop, self._lock_fd), StopFlag()
        election.stop.set()  # even if a signal handler raises before `_end`
        self._last = self._thread or self._last
        unclosed = [*self._unclosed, self._lock_fd] if self._lock_fd >= 0 else self._unclosed
        self._unclosed, self._thread, self._stop, self._lock_fd = unclosed, None, stop, -1
        return election

    def _end(self, election: _Election | None, *, may_wait: bool = True) -> None:
        """Wait for the end of a watching thread if that is allowed, then release the lock for another process."""
        if election is None:
            return
        if election.thread is not None:
            if may_wait:
                _join(election.thread)
            else:
                ending.add(election.thread)
        with self._lock:  # two threads must not close one number twice
            while self._unclosed:
                fork_safety.close_descriptor(self._unclosed.pop())

    def _run(self, stop: StopFlag, block_signals: Callable[[], object], last: threading.Thread | None) -> None:
        # Signals are for the main thread: one delivered here would leave its wait uninterrupted.
        block_signals()
        if last is not None:  # one watch at a time, with its connection and its descriptors
            _join(last)
        # OSError, ImportError: no descriptor was left for an import.
        with suppress(RavenError, OSError, ImportError):
            store = self._store.new_connection()
            try:
                self._watch(store, stop)
            finally:
                store.close()
        # If the bus is gone or unusable, the subscribers notice at their next tick, and raise or elect again.

    def _watch(self, store: Store, stop: StopFlag) -> None:
        last = int(store.value("last_delivery_id"))
        # Commits before this moment may be unnoticed, if no process was the watcher.
        self._doorbells.ring_all()
        maintenance = Maintenance(self._doorbells, self._on_idle)
        for delays in self._events(store, stop):
            for delay in delays:
                if stop.wait(delay):
                    return
                last = self._notify_new(store, last)
            maintenance.run_due(store)
            self._count_releases()

    def _events(self, store: Store, stop: StopFlag) -> Iterator[tuple[float, ...]]:
        """Yield, for each change and now and then when idle, the delays before the checks that follow it."""
        is_warned = False
        while not stop.is_set():
            try:
                yield from self._inotify_events(stop)
                return
            except Exception as error:
                # OSError and RuntimeError come from the system. In a child forked during the import of watchfiles, a
                # half-imported module can raise any exception.
                with suppress(OSError, ImportError):  # no descriptors left
                    if not is_warned:
                        import logging

                        logging.getLogger("raven").warning(
                            "cannot watch %s (%s): polling every %g s instead",
                            os.path.dirname(store.path), error, FALLBACK_POLL_S,
                        )  # fmt: skip
                        is_warned = True
            yield from self._polled_events(stop)

    def _inotify_events(self, stop: StopFlag) -> Iterator[tuple[float, ...]]:
        import watchfiles

        folder, name = os.path.split(self._store.path)
        ends = (f"/{name}", f"/{name}-wal")
        # Without a filter: watchfiles yields neither the changes that its filter drops nor, while they last, its
        # timeout, so that another busy file in the folder would stop everything that follows a yield.
        for changes in watchfiles.watch(
            folder,
            watch_filter=None,
            step=_STEP_MS,
            debounce=_DEBOUNCE_MS,
            rust_timeout=_IDLE_CHECK_MS,
            yield_on_timeout=True,
            recursive=False,
            stop_event=stop,
            raise_interrupt=False,
        ):
            yield (0.0, *_RECHECK_DELAYS_S) if any(path.endswith(ends) for _, path in changes) else (0.0,)

    def _polled_events(self, stop: StopFlag) -> Iterator[tuple[float, ...]]:
        retry_at = time.monotonic() + _RETRY_S
        while time.monotonic() < retry_at and not stop.wait(FALLBACK_POLL_S):
            yield (0.0,)

    def _notify_new(self, store: Store, last: int) -> int:
        """Ring for unclaimed deliveries after `last`; return the newest delivery's id."""
        store.verify()
        newest = int(store.value("last_delivery_id"))
        if newest < last:  # the file was replaced
            self._doorbells.ring_all()
        elif newest > last:
            recipients = [row[0] for row in store.rows("new_recipients_after", {"delivery_id": last})]
            self._doorbells.ring([*recipients, ALL_TRAFFIC] if recipients else [])
        return newest


def _join(thread: threading.Thread) -> None:
    # No join from within this thread: the garbage collector can close a dropped loop in it. No join of a thread that a
    # signal kept from starting.
    with suppress(RuntimeError):
        thread.join()


# Threads that were told to stop and not waited for. The interpreter must not exit while one is inside of watchfiles.
ending: WeakSet[threading.Thread] = WeakSet()


@atexit.register
def _join_all() -> None:
    for thread in list(ending):
        _join(thread)
