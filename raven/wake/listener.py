"""Listener: a doorbell at one address, with the process's WAL watcher for external writers."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from raven.wake.fifo import Doorbell, ping
from raven.wake.watcher import FALLBACK_POLL_S, WalWatcher

if TYPE_CHECKING:
    from raven.wake.handle import Handle


class Listener:
    """Tells an event loop that new mail may be there: `fileno()` becomes readable at a ring.

    After each ring `drain()` it, then query the store. Call `tick()` once a second, and query the store now and then;
    every FALLBACK_POLL_S if no FIFO can be created (`has_no_fifo`). With `elect=False` the election waits for the first
    tick; with `watch=False` there is none, for a loop that notices external writers itself. Nothing here blocks.
    Closing twice is allowed.
    """

    def __init__(self, handle: Handle, address: str, *, elect: bool = True, watch: bool = True) -> None:
        self._doorbells = handle.doorbells
        self._watcher = _watcher_of(handle) if watch else None
        self._address = address
        self._doorbell: Doorbell | None = None
        self._folder_version = 0
        self._warned = False
        self._pid = os.getpid()
        self._is_open = True
        self._user = object()
        try:
            if self._watcher is not None:
                self._watcher.acquire(self._user)
            self._ensure_doorbell()
            if elect and self._watcher is not None:
                self._watcher.try_elect()
        except BaseException:
            self.close()
            raise

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child's copy, which must not touch the parent's resources."""
        return self._pid != os.getpid()

    @property
    def has_no_fifo(self) -> bool:
        """Whether no doorbell can be created here."""
        return self._doorbell is None

    def fileno(self) -> int:
        """Return the descriptor that becomes readable at a ring, or -1 if there is no doorbell."""
        return -1 if self._doorbell is None else self._doorbell.fileno()

    def doorbell_exists(self) -> bool:
        """Whether the doorbell is still there; if not, `tick` creates another, with another descriptor."""
        return self._doorbell is not None and self._doorbell.exists()

    def wait(self, timeout_s: float, *, drains: bool = True) -> bool:
        """Block until a ring or the timeout; drain the doorbell, unless told otherwise, and return whether it rang."""
        # In a child, the parent's descriptor numbers belong to other files.
        doorbell = None if self.is_inherited else self._doorbell
        return doorbell is not None and doorbell.wait(timeout_s, drains=drains)

    async def wait_async(self, timeout_s: float, *, drains: bool = True) -> bool:
        """Wait as `wait` does, without blocking the running event loop."""
        doorbell = None if self.is_inherited else self._doorbell
        return doorbell is not None and await doorbell.wait_async(timeout_s, drains=drains)

    def drain(self) -> None:
        """Discard the rings so far."""
        if self._doorbell is not None and self._pid == os.getpid():
            self._doorbell.drain()

    def mark_busy(self) -> None:
        """Let senders ring other waiters at the address until the next `drain`; pass on a ring that came before."""
        if self._doorbell is not None and not self.is_inherited and self._doorbell.mark():
            self.pass_on()

    def pass_on(self, *, forward: bool = False) -> None:
        """Ring another waiter at the address; with `forward` only one that comes after this one in their order."""
        if not self.is_inherited:
            self._doorbells.ring_next(self._address, self._path(), forward=forward)

    def has_company(self) -> bool:
        """Whether other waiters are at the address."""
        return self._doorbells.has_others(self._address, self._path())

    def has_had_company(self) -> bool:
        """Whether other waiters are at the address, or some have come or gone since the last call.

        One that has gone may have had a ring that it did not answer.
        """
        before, self._folder_version = self._folder_version, self._doorbells.version(self._address)
        return before != self._folder_version or self.has_company()

    def ring(self) -> None:
        """Ring this doorbell; any thread may call this."""
        ping(self._path(), ring=True)

    def _path(self) -> str:
        return "" if self._doorbell is None else self._doorbell.path

    def tick(self) -> bool:
        """Recreate a missing doorbell, and try to become the WAL watcher if no process is.

        Returns whether the doorbell has changed: query the store then, because no sender could ring it.
        """
        if not self._is_open or self.is_inherited:
            return False
        is_new = self._ensure_doorbell()
        if self._watcher is not None:
            self._watcher.try_elect()
        return is_new

    def _ensure_doorbell(self) -> bool:
        """Create the doorbell unless it exists; returns whether it is a new one, or can no longer be created."""
        had_none = self._doorbell is None
        try:
            if self._doorbell is not None:
                return self._doorbell.recreate()
            self._doorbell = self._doorbells.create(self._address)
        except OSError as error:
            self._fall_back_to_polling(error)
        return had_none != (self._doorbell is None)

    def close(self, *, may_wait: bool = True) -> None:
        """Remove the doorbell; the last listener of a process ends its WAL watcher, and waits for that if it may."""
        if self._is_open and not self.is_inherited:
            self._is_open = False
            if self._watcher is not None:
                self._watcher.release(self._user, may_wait=may_wait)
            if self._doorbell is not None and self._doorbell.close():
                self.pass_on()

    def end_at_exit(self) -> None:
        """Do as `close` does at the interpreter's exit, but leave the descriptors open for a thread that still waits.

        The end of the process closes them.
        """
        if self._is_open and not self.is_inherited:
            self._is_open = False
            if self._watcher is not None:
                self._watcher.release(self._user)
            if self._doorbell is not None and self._doorbell.remove():
                self.pass_on()

    def _fall_back_to_polling(self, error: OSError) -> None:
        # Without a descriptor for a FIFO, an import has no descriptor either: the warning then comes at a later tick.
        with suppress(OSError, ImportError):
            if self._doorbell is not None or not self._warned:
                import logging

                logging.getLogger("raven").warning(
                    "no doorbell at %s (%s): polling every %g s instead; see `raven doctor`",
                    self._doorbells.folder, error, FALLBACK_POLL_S,
                )  # fmt: skip
                self._warned = True
        if self._doorbell is not None:
            with suppress(OSError):
                self._doorbell.close()
            self._doorbell = None


def _watcher_of(handle: Handle) -> WalWatcher:
    """Return the WAL watcher of a client, created at its first wait: a client that only sends needs no watcher."""
    if not handle.watchers:
        # If two threads run this at once, one watcher is kept.
        handle.watchers.setdefault("wal", WalWatcher(handle.store, handle.doorbells, handle.on_idle))
    return handle.watchers["wal"]
