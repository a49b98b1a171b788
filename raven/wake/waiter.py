"""Waiter: waits at one doorbell, with a fallback poll so that no message is ever missed."""

from __future__ import annotations

import atexit
import os
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from raven.errors import BusyError, ClosedError
from raven.model.limits import check_poll_interval
from raven.wake.handle import Handle
from raven.wake.listener import Listener
from raven.wake.watcher import FALLBACK_POLL_S

# The interval of ticks, in which another process takes over the WAL watch: not the caller's `poll_interval_s`.
_TICK_S = 1.0
# Starting and ending a WAL watcher takes longer than most replies: a short wait starts without one.
_WATCH_DELAY_S = 0.1


class Waiter:
    """One subscriber's wait; a context manager that leaves no FIFO, thread or descriptor behind.

    Create the doorbell first (enter), then query the store, then wait: a message sent after the query rings. A wait
    returns after `poll_interval_s` at the latest (the fallback poll). Each tick checks the file, the doorbell and the
    election: once a second, whatever the poll interval is. If no FIFO can be created, polls are 100 ms apart.

    With `competes`, other waiters take the same mail: a ring stays in the doorbell, so that senders ring another one,
    from the wait until `become_idle`, and from `become_busy` on. With company at the address each tick is a poll; so is
    the first one after it has gone.

    Set `may_wait` to False in an event loop: nothing here then waits for a lock that another thread holds.
    """

    may_wait = True

    def __init__(
        self,
        handle: Handle,
        address: str,
        poll_interval_s: float,
        *,
        delay_watch: bool = False,
        competes: bool = False,
    ) -> None:
        check_poll_interval(poll_interval_s)
        self._handle = handle
        self._address = address
        self._poll_interval_s = poll_interval_s
        self._delay_watch = delay_watch
        self._competes = competes
        self._is_busy = False
        self._next_tick = 0.0
        self._listener: Listener | None = None
        self._pid = os.getpid()

    def refuse_in_transaction(self) -> None:
        """Raise InputError if this thread and task are in a transaction: no message comes before its commit."""
        self._handle.store.refuse_in_transaction("wait")

    def __enter__(self) -> Self:
        self.refuse_in_transaction()
        # A loop that exits and restarts before its first tick must also notice a replaced file. A loop of a closed
        # client ends by itself.
        with suppress(ClosedError):
            self._verify()
        atexit.register(self._end_at_exit)
        try:
            self._listener = Listener(self._handle, self._address, elect=not self._delay_watch)
        except BaseException:
            self.close()
            raise
        self._next_tick = time.monotonic() + (_WATCH_DELAY_S if self._delay_watch else _TICK_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The garbage collector may end a generator or a coroutine, while this thread holds any lock.
        self.close(may_wait=self.may_wait and kind is not GeneratorExit)

    def close(self, *, may_wait: bool = True) -> None:
        """Remove the doorbell and end the WAL watcher. Closing twice is allowed; a forked child's copy does nothing."""
        atexit.unregister(self._end_at_exit)
        if self._listener is not None and not self.is_inherited:
            self._listener.close(may_wait=may_wait)

    def _end_at_exit(self) -> None:
        """Leave no FIFO and no watching thread, but every descriptor open: a daemon thread may still wait here."""
        if self._listener is not None and not self.is_inherited:
            self._listener.end_at_exit()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child's copy, which must not touch the parent's resources."""
        return self._pid != os.getpid()

    def wait(self, at_most_s: float | None) -> bool:
        """Block until a ring, the next poll or the timeout, with ticks meanwhile; return whether it rang."""
        deadline = self._deadline(at_most_s)
        while True:
            pause = self._pause_s(deadline)
            rang = False
            if self._listener is None or self._listener.has_no_fifo:
                time.sleep(pause)
            else:
                rang = self._listener.wait(pause, drains=not self._competes)
                self._is_busy = self._is_busy or rang
            if self.tick_if_due() or rang or time.monotonic() >= deadline or self._is_closed():
                return rang

    async def wait_async(self, at_most_s: float | None) -> bool:
        """Wait as `wait` does, without blocking the running event loop."""
        deadline = self._deadline(at_most_s)
        while True:
            pause = self._pause_s(deadline)
            rang = False
            if self._listener is None or self._listener.has_no_fifo:
                import asyncio

                await asyncio.sleep(pause)
            else:
                rang = await self._listener.wait_async(pause, drains=not self._competes)
                self._is_busy = self._is_busy or rang
            if self.tick_if_due() or rang or time.monotonic() >= deadline or self._is_closed():
                return rang

    def become_idle(self) -> None:
        """Let senders ring this waiter again. Query the store afterwards: earlier rings are discarded."""
        if self._is_busy and self._listener is not None:
            self._is_busy = False
            self._listener.drain()

    def become_busy(self) -> None:
        """Let senders ring other waiters, while the program handles a message; a ring that has come is passed on."""
        if not self._is_busy and self._listener is not None:
            self._is_busy = True
            self._listener.mark_busy()

    def pass_on(self, *, forward: bool = False) -> None:
        """Ring another waiter at the address, see Listener."""
        if self._listener is not None:
            self._listener.pass_on(forward=forward)

    def has_company(self) -> bool:
        """Whether other waiters are at the address."""
        return self._listener is not None and self._listener.has_company()

    def ring(self) -> None:
        """Ring this waiter; any thread may call this."""
        if self._listener is not None:
            self._listener.ring()

    def tick_if_due(self) -> bool:
        """Check the file, the doorbell and the election if a tick is due; for busy loops that never wait, too.

        Returns whether to query the store: the file or the doorbell is another one, or another waiter may have been
        rung and not have answered, because it was stopped or died.
        """
        if self._listener is None or time.monotonic() < self._next_tick:
            return False
        store = self._handle.store
        inode = store.inode
        self._verify()
        store.run_deferred()
        is_new = self._listener.tick()
        self._next_tick = time.monotonic() + _TICK_S
        return is_new or store.inode != inode or (self._competes and self._listener.has_had_company())

    def _verify(self) -> None:
        """Verify the file; in an event loop, not while another thread uses the client: the next tick does."""
        store = self._handle.store
        if self.may_wait:
            store.verify()
        else:
            with suppress(BusyError):
                store.no_wait(store.verify)

    def _deadline(self, at_most_s: float | None) -> float:
        """Return when a wait that begins now ends without a ring."""
        has_no_fifo = self._listener is None or self._listener.has_no_fifo
        pause = min(self._poll_interval_s, FALLBACK_POLL_S) if has_no_fifo else self._poll_interval_s
        return time.monotonic() + (pause if at_most_s is None else min(pause, at_most_s))

    def _pause_s(self, deadline: float) -> float:
        """Return the seconds until the next tick or the deadline."""
        return max(0.0, min(deadline, self._next_tick) - time.monotonic())

    def _is_closed(self) -> bool:
        """Whether the doorbell was closed meanwhile; the wait then ended early."""
        return self._listener is None or self._listener.fileno() < 0
