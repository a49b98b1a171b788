"""Stop: the flag that ends a background thread."""

from __future__ import annotations

import threading
from contextlib import suppress


class StopFlag:
    """Does the part of `threading.Event` that a thread needs to be ended, but `set` waits for no lock.

    A finalizer can therefore call `set` at any moment. The garbage collector runs finalizers between any two
    instructions of a thread, also inside the methods of the very Event that the thread waits for.
    """

    def __init__(self) -> None:
        self._is_set = False
        # Locked until the flag is set: a thread that waits for the flag waits for this lock.
        self._until_set = threading.Lock()
        self._until_set.acquire()

    def set(self) -> None:
        """Set the flag, and wake the thread."""
        self._is_set = True
        with suppress(RuntimeError):  # it was set before
            self._until_set.release()

    def is_set(self) -> bool:
        """Whether the flag is set."""
        return self._is_set

    def wait(self, timeout_s: float) -> bool:
        """Block until the flag is set or the timeout is over; return whether it is set."""
        if not self._is_set and self._until_set.acquire(timeout=timeout_s):
            self.set()
        return self._is_set
