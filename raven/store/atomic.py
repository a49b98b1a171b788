"""Atomic blocks: one transaction around many writes of one thread, each of which can still fail alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from raven.store.database import Store


class Atomic:
    """From enter to exit, every write of this thread on the store is part of one commit.

    A write that raises is undone alone; an exception that leaves the block undoes all of them. Doorbells ring only
    after the commit. Blocks nest. A block whose `__exit__` never ran, because a signal handler raised first, is undone
    when it is garbage-collected. `on_implicit_join` is called for each write that joins the block without using its
    methods.
    """

    _thread = 0  # the thread that entered the block
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
            if self._store.nesting() > depth:  # a signal handler raised after the begin
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
