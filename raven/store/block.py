"""Block: an atomic block of one thread and one asyncio task, as the store knows it."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator


class AfterCommit(NamedTuple):
    """An action to run after the commit, and the one to run if the writes are rolled back."""

    run: Callable[[Iterable[str]], Any]
    addresses: Iterable[str]
    undo: Callable[[], None] | None


class ThreadToken:
    """Stands for one thread; unlike a thread's number, no later thread gets the same."""


class AbandonedError(Exception):
    """The thread or task of a block has ended before it: ends the block's generator."""


class Block:
    """An atomic block of one thread and one asyncio task, as the store knows it while the block is open.

    `gate` and `_open` are locked by C code alone as long as the block is open: after an interrupted end it is closed.
    """

    def __init__(self, thread: ThreadToken, on_implicit_join: Callable[[], None] | None) -> None:
        self.gate = threading.Lock()  # other threads wait here for the end of the block
        self.open = threading.Lock()  # is locked only by the block itself
        self.on_implicit_join = on_implicit_join
        self.is_joined = False  # a method of the block is running
        self.outer: Block | None = None
        self.began = math.inf
        self.actions: list[AfterCommit] = []
        self.running: ref[Generator[Any, Any, None]] | None = None
        self._thread = ref(thread)
        # Only weak: else the store would keep a task that the program has dropped, and with it this block.
        self._task = None if (task := _current_task()) is None else ref(task)

    @property
    def is_open(self) -> bool:
        """Whether the block has begun and not ended."""
        return self.open.locked()

    def is_of_thread(self, thread: ThreadToken) -> bool:
        """Whether a thread began the block."""
        return self._thread() is thread

    def is_of_task(self, thread: ThreadToken) -> bool:
        """Whether this thread, given as `thread`, and its running asyncio task began the block."""
        return self._thread() is thread and self._is_of_current_task()

    def is_around(self, thread: ThreadToken) -> bool:
        """Whether this thread, given as `thread`, cannot go on without ending the block or the calls inside it."""
        return self._thread() is thread and (self._task is None or self._is_of_current_task())

    def end_if_abandoned(self) -> None:
        """Roll back the block if its thread or its task has ended before it, or can never run again."""
        is_abandoned = self._thread() is None or (self._task is not None and _has_ended(self._task()))
        running = None if self.running is None or not is_abandoned else self.running()
        if running is not None:
            with suppress(ValueError):  # another thread is ending it at this moment
                running.throw(AbandonedError())

    def _is_of_current_task(self) -> bool:
        task = _current_task()
        return self._task is None if task is None else self._task is not None and self._task() is task

    def roll_back(self) -> None:
        """Drop the actions of the block, the last first, and run their `undo`."""
        while self.actions:
            undo = self.actions.pop().undo
            if undo is not None:
                undo()


def run_actions(actions: Iterable[AfterCommit]) -> None:
    """Run the actions after a commit, each action once for all its addresses."""
    merged: dict[Callable[[Iterable[str]], Any], dict[str, None]] = {}
    for action, addresses, _ in actions:
        merged.setdefault(action, {}).update(dict.fromkeys(addresses))
    for action, addresses in merged.items():
        action(addresses)


def _current_task() -> asyncio.Task[Any] | None:
    """Return the running asyncio task, or None."""
    module = sys.modules.get("asyncio")
    try:
        task: asyncio.Task[Any] | None = None if module is None else module.current_task()
        return task
    except (RuntimeError, AttributeError):  # no event loop runs here, or another thread is importing asyncio
        return None


def _has_ended(task: asyncio.Task[Any] | None) -> bool:
    """Whether a task never runs again: it is done, its event loop is closed, or it exists no more."""
    return task is None or task.done() or task.get_loop().is_closed()
