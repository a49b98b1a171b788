"""Groups: one transaction around many writes of one thread, each of which still fails alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from raven.store.database import Store


class Atomic:
    """From enter to exit, every write of this thread on the store is part of one commit.

    A write that raises is undone alone; an exception that leaves the block undoes all. Only after the commit are
    doorbells rung. Groups nest. One that is dropped without its exit (a signal handler raised at the very door of it)
    is undone. `on_implicit_join` is told of a write that says nothing of the group.
    """

    _thread = 0  # the one that has entered
    _before: Callable[[], None] | None = None

    def __init__(self, store: Store, on_implicit_join: Callable[[], None] | None = None) -> None:
        self._store = store
        self._on_stray = on_implicit_join

    def __enter__(self) -> Self:
        depth = self._store.nesting()
        self._thread = threading.get_ident()
        try:
            self._store.begin_atomic()
        except BaseException:
            self._thread = 0
            if self._store.nesting() > depth:  # an exception of a signal handler came after it had begun
                self._store.end_atomic(commit=False)
            raise
        self._before, self._store.on_implicit_join = self._store.on_implicit_join, self._on_stray
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(commit=error is None)

    def __del__(self) -> None:
        if self._thread == threading.get_ident():
            self._end(commit=False)

    def _end(self, commit: bool) -> None:
        if self._thread:
            self._thread = 0
            self._store.on_implicit_join = self._before
            self._store.end_atomic(commit)
