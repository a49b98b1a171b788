"""The WAL watch: one process per bus hears the writers that do not ring, and rings for them.

It also lets leases, delays and lives end in time, so that nobody has to ask.

Whoever waits at a doorbell tries to take a lock file in the bells folder; the one who has it watches the database's
folder in a thread. The folder, not the WAL: a watch on the WAL itself goes deaf when SQLite deletes and recreates it.
An event can come before its commit is visible, so after each there are a few more looks. When the elected process
dies, the kernel frees the lock and another takes over within its tick.

Where inotify is not to be had (its instances are used up, an odd file system), the elected process looks every 100 ms
instead, on behalf of all, and tries again now and then.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from raven.errors import RavenError
from raven.store import fork_safety
from raven.store.database import Store
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells

LOCK_NAME = "watch.lock"
FALLBACK_POLL_S = 0.1
# What was used up may have been given back after so long.
_RETRY_S = 3.0
# watchfiles hands out events once a step has passed without another, at the latest after the debounce.
_STEP_MS = 20
_DEBOUNCE_MS = 60
# Without an event there is a look all the same: for what came before the watch stood, and for the one event in a
# hundred that (measured, two processes) never comes out of watchfiles.
_IDLE_CHECK_MS = 50
_RECHECK_DELAYS_S = (0.002, 0.005, 0.01, 0.03)
_SWEEP_EVERY_S = 60.0
_TRUNCATE_WAL_FROM = 256 * 1024
# To look for what has come due takes longer the more recipients there are: it rests so many times as long.
_SETTLING_SHARE = 50


def probe(folder: str, timeout_s: float) -> bool:
    """Write a file into an empty folder and say whether that was noticed in time; OSError where no watch can be set."""
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
    """The thread that watches, what stops it, and the lock file's descriptor."""

    thread: threading.Thread | None
    stop: threading.Event
    lock_fd: int


class WalWatcher:
    """A candidate for the watch of one bus, shared by all who wait in this process.

    It holds nothing until somebody has joined and it is told to stand, and nothing once the last has left. `on_idle` is
    called between two looks, with the watch's own connection: it lets leases, delays and lives end in time.
    """

    def __init__(self, store: Store, doorbells: Doorbells, on_idle: Callable[[Store], object]) -> None:
        self._on_idle = on_idle
        self._store = store
        self._doorbells = doorbells
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._users = 0
        self._lock_fd = -1
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def acquire(self) -> None:
        """Count one more who waits."""
        if self._pid != os.getpid():  # what a forked child has inherited is its parent's
            self._begin()
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """Count one less; the last to leave ends the watch, so that another process can take over."""
        with self._lock:
            self._users -= 1
            ended = self._resign() if not self._users else None
        _end(ended)

    def try_elect(self) -> None:
        """Become the watcher unless another process is; cheap, to be called at every tick."""
        if self._thread is not None and self._thread.is_alive():
            return
        # OSError: another process watches. RuntimeError: no more threads are to be had. And where descriptors have run
        # out an import raises OSError or ImportError.
        with self._lock, suppress(OSError, RuntimeError, ImportError):
            if not self._users or (self._thread is not None and self._thread.is_alive()):
                return
            # Here, for the sake of those who only send: `signal` is a large module. And not in the thread, where it
            # would leave time for one to come.
            import fcntl
            import signal

            block = partial(signal.pthread_sigmask, signal.SIG_BLOCK, signal.valid_signals())
            if self._lock_fd < 0:
                self._lock_fd = fork_safety.close_on_fork(self._doorbells.open_lock(LOCK_NAME))
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stop, block), name="raven-wal-watcher", daemon=True
            )
            self._thread.start()
            return
        if self._thread is not None:
            with self._lock:
                ended = self._resign()
            _end(ended)

    def _resign(self) -> _Election:
        """Hand over what makes this the watcher, so that the guard need not be held while the thread ends."""
        election = _Election(self._thread, self._stop, self._lock_fd)
        self._thread, self._stop, self._lock_fd = None, threading.Event(), -1
        return election

    def _run(self, stop: threading.Event, block_signals: Callable[[], object]) -> None:
        # Signals are the main thread's: one that came here would leave its wait uninterrupted.
        block_signals()
        # OSError, ImportError: an import found no descriptor left.
        with suppress(RavenError, OSError, ImportError):
            store = self._store.new_connection()
            try:
                self._watch(store, stop)
            finally:
                store.close()
        # The bus is gone or unusable: the subscribers notice it at their next tick, and say so or stand again.

    def _watch(self, store: Store, stop: threading.Event) -> None:
        last = int(store.value("last_delivery_id"))
        # What came before this moment may have gone unheard while nobody watched.
        self._doorbells.ring_all()
        swept_at = time.monotonic()
        due_at = 0.0
        for delays in self._events(store, stop):
            for delay in delays:
                if stop.wait(delay):
                    return
                last = self._notify_new(store, last)
            if len(delays) == 1:
                self._truncate_wal(store)
            if time.monotonic() >= due_at:
                due_at = self._apply_due(store)
            if time.monotonic() - swept_at > _SWEEP_EVERY_S:
                self._doorbells.sweep()
                swept_at = time.monotonic()

    def _events(self, store: Store, stop: threading.Event) -> Iterator[tuple[float, ...]]:
        """Yield, for each change and now and then when idle, the pauses before the looks that it deserves."""
        is_warned = False
        while not stop.is_set():
            try:
                yield from self._inotify_events(stop)
                return
            except Exception as error:
                # OSError and RuntimeError of the system; in a child that was forked while watchfiles was being
                # imported, whatever a module that is half there raises.
                with suppress(OSError, ImportError):  # for want of descriptors
                    if not is_warned:
                        import logging

                        logging.getLogger("raven").warning(
                            "cannot watch %s (%s): looking every %g s instead",
                            os.path.dirname(store.path), error, FALLBACK_POLL_S,
                        )  # fmt: skip
                        is_warned = True
            yield from self._polled_events(stop)

    def _inotify_events(self, stop: threading.Event) -> Iterator[tuple[float, ...]]:
        import watchfiles

        name = os.path.basename(self._store.path)
        names = {name, f"{name}-wal"}
        for changes in watchfiles.watch(
            os.path.dirname(self._store.path),
            watch_filter=lambda _, path: os.path.basename(path) in names,
            step=_STEP_MS,
            debounce=_DEBOUNCE_MS,
            rust_timeout=_IDLE_CHECK_MS,
            yield_on_timeout=True,
            recursive=False,
            stop_event=stop,
            raise_interrupt=False,
        ):
            yield (0.0, *_RECHECK_DELAYS_S) if changes else (0.0,)

    def _polled_events(self, stop: threading.Event) -> Iterator[tuple[float, ...]]:
        retry_at = time.monotonic() + _RETRY_S
        while time.monotonic() < retry_at and not stop.wait(FALLBACK_POLL_S):
            yield (0.0,)

    def _notify_new(self, store: Store, last: int) -> int:
        """Ring for deliveries after `last` that nobody has touched yet; returns the newest delivery's id."""
        store.verify()
        newest = int(store.value("last_delivery_id"))
        if newest < last:  # another file took the place of the old one
            self._doorbells.ring_all()
        elif newest > last:
            recipients = [row[0] for row in store.rows("new_recipients_after", {"delivery_id": last})]
            self._doorbells.ring([*recipients, ALL_TRAFFIC] if recipients else [])
        return newest

    def _apply_due(self, store: Store) -> float:
        """Let leases, delays and lives end in time, and wake whom that concerns; returns when to do it again."""
        began = time.monotonic()
        # Another writer may be in the way, or the disk full: whoever waits there tries too, and so does the next round.
        with suppress(RavenError), store.no_wait():
            self._on_idle(store)
        ended = time.monotonic()
        return ended + _SETTLING_SHARE * (ended - began)

    def _truncate_wal(self, store: Store) -> None:
        if store.wal_size() >= _TRUNCATE_WAL_FROM:
            store.truncate_wal()


def _end(election: _Election | None) -> None:
    """Stop a watch, and then let another process have the lock."""
    if election is None:
        return
    if election.thread is not None:
        election.stop.set()
        # No join from this very thread (a loop that nobody holds can be collected in it), nor of one that a signal kept
        # from starting.
        with suppress(RuntimeError):
            election.thread.join()
    if election.lock_fd >= 0:
        fork_safety.close_descriptor(election.lock_fd)
