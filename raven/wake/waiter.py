"""Waiter: waits at one doorbell, with the tick behind it so that nothing is ever lost."""

from __future__ import annotations

import atexit
import os
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from raven.errors import ClosedError
from raven.model.limits import check_poll_interval
from raven.wake.doorbell import SIGNAL_SLICE_S
from raven.wake.handle import Handle
from raven.wake.listener import Listener
from raven.wake.watcher import FALLBACK_POLL_S

# To begin a watch and to end it takes longer than most answers need: a brief wait begins without one.
_WATCH_DELAY_S = 0.1


class Waiter:
    """One subscriber's way of waiting; a context manager that leaves no FIFO, thread or descriptor behind.

    Hang the bell first (enter), then look into the store, then wait: what is sent after the look rings. At every tick
    the file, the bell and the election are checked. Where no FIFO can be made the tick shortens to 100 ms.
    """

    def __init__(self, handle: Handle, address: str, poll_interval_s: float, *, delay_watch: bool = False) -> None:
        check_poll_interval(poll_interval_s)
        self._handle = handle
        self._address = address
        self._tick_s = poll_interval_s
        self._delay_watch = delay_watch
        self._next_tick = 0.0
        self._listener: Listener | None = None
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        # Loops that are left and begun anew before their first tick must notice, too, that the file was replaced; those
        # of a client that is closed end by themselves.
        with suppress(ClosedError):
            self._handle.store.verify()
        # A loop that is still open when the interpreter exits must end before threads can no longer be joined.
        atexit.register(self.close)
        try:
            self._listener = Listener(self._handle, self._address, elect=not self._delay_watch)
        except BaseException:
            self.close()
            raise
        self._plan_tick()
        if self._delay_watch:
            self._next_tick = min(self._next_tick, time.monotonic() + _WATCH_DELAY_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bell down and stop the watch. Closing twice is allowed; a forked child's copy does nothing."""
        atexit.unregister(self.close)
        if self._listener is not None and not self.is_inherited:
            self._listener.close()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child's copy: then what it holds belongs to the parent, and is left alone."""
        return self._pid != os.getpid()

    def wait(self, at_most_s: float | None) -> bool:
        """Block until someone rings, the next tick is due or the time is over; returns whether it rang."""
        pause = self._pause_s(at_most_s)
        rang = False
        if self._listener is None or self._listener.has_no_fifo:
            time.sleep(pause)
        else:
            rang = self._listener.wait(pause)
        self.tick_if_due()
        return rang

    async def wait_async(self, at_most_s: float | None) -> bool:
        """Do as `wait` does, without blocking the running event loop."""
        pause = self._pause_s(at_most_s)
        rang = False
        if self._listener is None or self._listener.has_no_fifo:
            import asyncio

            await asyncio.sleep(pause)
        else:
            give_up_at = time.monotonic() + pause
            while not rang and (left := give_up_at - time.monotonic()) > 0:
                await _readable(self._listener.fileno(), min(left, SIGNAL_SLICE_S))
                rang = self._listener.wait(0)
        self.tick_if_due()
        return rang

    def tick_if_due(self) -> None:
        """Check the file, the bell and the election if the time has come; for loops that are too busy to wait, too."""
        if self._listener is not None and time.monotonic() >= self._next_tick:
            self._handle.store.verify()
            self._listener.tick()
            self._plan_tick()

    def _plan_tick(self) -> None:
        has_no_fifo = self._listener is None or self._listener.has_no_fifo
        self._next_tick = time.monotonic() + (min(self._tick_s, FALLBACK_POLL_S) if has_no_fifo else self._tick_s)

    def _pause_s(self, at_most_s: float | None) -> float:
        until_tick = self._next_tick - time.monotonic()
        return max(0.0, until_tick if at_most_s is None else min(until_tick, at_most_s))


async def _readable(descriptor: int, timeout_s: float) -> None:
    """Wait until a descriptor is readable or the time is over."""
    import asyncio

    loop = asyncio.get_running_loop()
    rung: asyncio.Future[None] = loop.create_future()

    def ring() -> None:
        if not rung.done():
            rung.set_result(None)

    loop.add_reader(descriptor, ring)
    timer = loop.call_later(timeout_s, ring)
    try:
        await rung
    finally:
        timer.cancel()
        loop.remove_reader(descriptor)
