"""Retry: steps of the store in an event loop, which never waits for a lock that another thread or process holds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from raven.errors import BusyError
from raven.files.turnstile import Turn
from raven.store.connection import ConnectionBusyError
from raven.store.database import Store

_BUSY_NAP_S = 0.002
_T = TypeVar("_T")


async def retry_when_busy(
    store: Store, step: Callable[[], _T], at_most_s: float | None = None, give_up_at: float | None = None
) -> _T:
    """Run a short step of the store; while another thread or writer is active, wait in the event loop and retry.

    Raises BusyError after the store's busy timeout, or after `at_most_s` seconds if that is less. A transaction of
    another task or thread of this client may take until the moment `give_up_at`, or any time.
    """
    import asyncio

    timeout_s = store.busy_timeout_s if at_most_s is None else min(store.busy_timeout_s, at_most_s)
    deadline = time.monotonic() + timeout_s
    turn: Turn | None = None
    try:
        while True:
            if store.block is not None and store.is_block_of_others():
                deadline = time.monotonic() + timeout_s
                if give_up_at is not None and time.monotonic() >= give_up_at:
                    raise BusyError(f"the bus {store.path} is locked by a transaction of this client")
                await asyncio.sleep(_BUSY_NAP_S * (0.5 + os.urandom(1)[0] / 255))
                continue
            try:
                return store.no_wait(step)
            except ConnectionBusyError:
                if time.monotonic() >= deadline:
                    raise
                if turn is not None:  # the file may be free for others meanwhile
                    turn.leave()
                await asyncio.sleep(_BUSY_NAP_S * (0.5 + os.urandom(1)[0] / 255))
                continue
            except BusyError:
                turn = turn or Turn(store.path, deadline - time.monotonic())
                turn.may_try()
                if (pause_s := turn.pause_s()) is None:
                    raise
            await asyncio.sleep(pause_s)
            while not turn.may_try() and (pause_s := turn.pause_s()) is not None:
                await asyncio.sleep(pause_s)
    finally:
        if turn is not None:
            turn.leave()
