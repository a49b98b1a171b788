"""Groups: one transaction around many writes of one thread, each of which still fails alone."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Generic, TypeVar

from raven.store.database import Store

_T = TypeVar("_T")


class Group(Generic[_T]):
    """What `transaction()` returns: from enter to exit, every write of this thread on the store is part of one commit.

    A write that raises is undone alone; an exception that leaves the block undoes all. Only after the commit are
    doorbells rung. Groups nest. One that is dropped without its exit (a signal handler raised at the very door of it)
    is undone. Entering yields `subject`.
    """

    _thread = 0  # the one that has entered

    def __init__(self, store: Store, subject: _T) -> None:
        self._store = store
        self._subject = subject

    def __enter__(self) -> _T:
        depth = self._store.group_depth()
        self._thread = threading.get_ident()
        try:
            self._store.begin_group()
        except BaseException:
            self._thread = 0
            if self._store.group_depth() > depth:  # an exception of a signal handler came after it had begun
                self._store.end_group(commit=False)
            raise
        return self._subject

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread:
            self._thread = 0
            self._store.end_group(commit=error is None)

    def __del__(self) -> None:
        if self._thread == threading.get_ident():
            self._store.end_group(commit=False)
