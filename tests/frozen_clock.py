"""A bus on which nothing happens by itself: a clock that stands, and an election that no other process can win.

Time is an input of the lifecycle, like a claim: these tests set it. Everything else is real.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from raven.wake.watcher import LOCK_NAME

SECOND_US = 1_000_000


class Clock:
    """A clock that moves when it is told to, forward or back; put its `now` in the place of `raven.clock.now`."""

    def __init__(self) -> None:
        self.now_us = 1_800_000_000 * SECOND_US

    def now(self) -> int:
        return self.now_us

    def step(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND_US)


@contextmanager
def elected(db: str) -> Iterator[None]:
    """Hold the election of the watch, so that no thread settles anything meanwhile."""
    os.makedirs(f"{db}-bells", mode=0o700, exist_ok=True)
    lock = os.open(f"{db}-bells/{LOCK_NAME}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)
