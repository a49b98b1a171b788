"""Waiter: waits at one doorbell, with the tick behind it so that nothing is ever lost."""

from __future__ import annotations

import atexit
import os
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from raven.doorbell import SIGNAL_SLICE_S, Bell, Doorbells
from raven.errors import InputError
from raven.store import Store
from raven.walwatch import WalWatch

DEGRADED_TICK_S = 0.1


class Waiter:
    """One subscriber's way of waiting; a context manager that leaves no FIFO, thread or descriptor behind.

    Hang the bell first (enter), then look into the store, then wait: what is sent after the look rings. At every tick
    the file, the bell and the election are checked. Where no FIFO can be made the tick shortens to 100 ms.
    """

    def __init__(self, store: Store, doorbells: Doorbells, address: str, poll_interval_s: float) -> None:
        if not isinstance(poll_interval_s, int | float) or not 0 < poll_interval_s <= 3600:
            raise InputError(
                f"poll_interval_s {poll_interval_s!r} is out of range: use more than 0, up to 3600 seconds"
            )
        self._store = store
        self._doorbells = doorbells
        self._address = address
        self._tick_s = poll_interval_s
        self._next_tick = 0.0
        self._bell: Bell | None = None
        self._watch = WalWatch(store, doorbells)
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        # A loop that is still open when the interpreter exits must end before threads can no longer be joined.
        atexit.register(self.close)
        try:
            self._tick()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bell down and stop the watch. Closing twice is allowed; a forked child's copy does nothing."""
        atexit.unregister(self.close)
        if self.is_inherited:
            return
        self._watch.close()
        if self._bell is not None:
            self._bell.close()

    def wake_all(self) -> None:
        """Wake all who wait at this address, this one among them."""
        self._doorbells.ring([self._address])

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child's copy: then what it holds belongs to the parent, and is left alone."""
        return self._pid != os.getpid()

    def wait(self, at_most_s: float | None) -> bool:
        """Block until someone rings, the next tick is due or the time is over; returns whether it rang."""
        pause = self._pause_s(at_most_s)
        rang = False
        if self._bell is None:
            time.sleep(pause)
        else:
            rang = self._bell.wait(pause)
        self.tick_if_due()
        return rang

    async def wait_async(self, at_most_s: float | None) -> bool:
        """Do as `wait` does, without blocking the running event loop."""
        pause = self._pause_s(at_most_s)
        rang = False
        if self._bell is None:
            import asyncio

            await asyncio.sleep(pause)
        else:
            give_up_at = time.monotonic() + pause
            while not rang and (left := give_up_at - time.monotonic()) > 0:
                await _readable(self._bell, min(left, SIGNAL_SLICE_S))
                rang = self._bell.wait(0)
        self.tick_if_due()
        return rang

    def _pause_s(self, at_most_s: float | None) -> float:
        until_tick = self._next_tick - time.monotonic()
        return max(0.0, until_tick if at_most_s is None else min(until_tick, at_most_s))

    def tick_if_due(self) -> None:
        """Check the file, the bell and the election if the time has come; for loops that are too busy to wait, too."""
        if time.monotonic() >= self._next_tick:
            self._store.verify()
            self._tick()

    def _tick(self) -> None:
        try:
            if self._bell is None:
                self._bell = self._doorbells.hang(self._address)
            else:
                self._bell.rehang()
        except OSError as error:
            self._note_degraded(error)
        self._watch.stand()
        tick = self._tick_s if self._bell is not None else min(self._tick_s, DEGRADED_TICK_S)
        self._next_tick = time.monotonic() + tick

    def _note_degraded(self, error: OSError) -> None:
        if self._bell is not None or not self._next_tick:
            import logging

            logging.getLogger("raven").warning(
                "no doorbell at %s (%s): looking every %g s instead; see `raven doctor`",
                self._doorbells.folder, error, DEGRADED_TICK_S,
            )  # fmt: skip
        if self._bell is not None:
            with suppress(OSError):
                self._bell.close()
            self._bell = None


async def _readable(bell: Bell, timeout_s: float) -> None:
    """Wait until the bell rings or the time is over."""
    import asyncio

    loop = asyncio.get_running_loop()
    rung: asyncio.Future[None] = loop.create_future()

    def ring() -> None:
        if not rung.done():
            rung.set_result(None)

    loop.add_reader(bell.fileno(), ring)
    timer = loop.call_later(timeout_s, ring)
    try:
        await rung
    finally:
        timer.cancel()
        loop.remove_reader(bell.fileno())
