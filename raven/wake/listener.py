"""Listener: a doorbell at one address together with the watch for writers that do not ring."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from raven.wake.doorbell import Doorbell
from raven.wake.watcher import FALLBACK_POLL_S, WalWatcher

if TYPE_CHECKING:
    from raven.wake.handle import Handle


class Listener:
    """Tells an event loop that there may be news: `fileno()` turns readable when somebody rings.

    After each ring `drain()` it, then look into the store. Call `tick()` once a second, and look then too; where no
    FIFO can be made (`has_no_fifo`), every FALLBACK_POLL_S.
    With `elect=False` the election waits for the first tick. Nothing here blocks. Closing twice is allowed.
    """

    def __init__(self, handle: Handle, address: str, *, elect: bool = True) -> None:
        self._doorbells = handle.doorbells
        self._watcher = _watcher_of(handle)
        self._address = address
        self._doorbell: Doorbell | None = None
        self._warned = False
        self._pid = os.getpid()
        self._is_open = True
        self._watcher.acquire()
        try:
            self._ensure_doorbell()
            if elect:
                self._watcher.try_elect()
        except BaseException:
            self.close()
            raise

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child's copy: then what it holds belongs to the parent, and is left alone."""
        return self._pid != os.getpid()

    @property
    def has_no_fifo(self) -> bool:
        """Whether no doorbell can be had here."""
        return self._doorbell is None

    def fileno(self) -> int:
        """Return the descriptor that turns readable when somebody rings, or -1 where no doorbell is to be had."""
        return -1 if self._doorbell is None else self._doorbell.fileno()

    def doorbell_exists(self) -> bool:
        """Whether the doorbell is in its place; where it is not, `tick` hangs another, with another descriptor."""
        return self._doorbell is not None and self._doorbell.exists()

    def wait(self, timeout_s: float) -> bool:
        """Block until somebody rings or the time is over; returns whether it rang, and silences it."""
        # The numbers of descriptors that a child has not inherited are those of other files there.
        return self._doorbell is not None and not self.is_inherited and self._doorbell.wait(timeout_s)

    def drain(self) -> None:
        """Forget the rings so far."""
        if self._doorbell is not None and self._pid == os.getpid():
            self._doorbell.drain()

    def tick(self) -> None:
        """Hang the doorbell where it does not, and see that somebody watches for writers that do not ring."""
        if not self._is_open or self.is_inherited:
            return
        self._ensure_doorbell()
        self._watcher.try_elect()

    def _ensure_doorbell(self) -> None:
        try:
            if self._doorbell is None:
                self._doorbell = self._doorbells.create(self._address)
            else:
                self._doorbell.recreate()
        except OSError as error:
            self._fall_back_to_polling(error)

    def close(self) -> None:
        """Take the doorbell down; the last listener of a process ends its watch."""
        if self._is_open and not self.is_inherited:
            self._is_open = False
            self._watcher.release()
            if self._doorbell is not None:
                self._doorbell.close()

    def _fall_back_to_polling(self, error: OSError) -> None:
        # Where there is no descriptor for a FIFO there is none for an import: then it is told at a later tick.
        with suppress(OSError, ImportError):
            if self._doorbell is not None or not self._warned:
                import logging

                logging.getLogger("raven").warning(
                    "no doorbell at %s (%s): looking every %g s instead; see `raven doctor`",
                    self._doorbells.folder, error, FALLBACK_POLL_S,
                )  # fmt: skip
                self._warned = True
        if self._doorbell is not None:
            with suppress(OSError):
                self._doorbell.close()
            self._doorbell = None


def _watcher_of(handle: Handle) -> WalWatcher:
    """Return the watch of a client, made when something waits for the first time: what only sends needs none."""
    if not handle.watchers:
        # Of two threads that come here at once, one has it.
        handle.watchers.setdefault("wal", WalWatcher(handle.store, handle.doorbells, handle.on_idle))
    return handle.watchers["wal"]
