"""Forks: what must happen around one, so that a child never shares what belongs to its parent.

A doorbell's read end in a child would make a dead subscriber look alive, an inherited election lock would outlive its
process, and an inherited SQLite connection is poison: while it is there, SQLite's own books in the child say that locks
are held which only the parent holds, and a new connection would rely on them (https://sqlite.org/howtocorrupt.html,
section 2.6). Descriptors and forks belong to the process, so the two sets here do too; they are the only module state
in raven that changes.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet


class Fragile(Protocol):
    """Something that must be still while the process forks, and be left behind in the child."""

    def before_fork(self) -> None:
        """Finish what other threads are doing with it, and hold it."""

    def after_fork(self) -> None:
        """Let go of it in the parent."""

    def forsake(self) -> None:
        """Give it up in the child."""


_descriptors: set[int] = set()
_fragile: WeakSet[Fragile] = WeakSet()
_held: list[Fragile] = []
# One fork at a time, and nothing is added during one.
_forking = threading.RLock()


def keep_descriptor(descriptor: int) -> int:
    """Close `descriptor` in every child that is forked from now on; returns it."""
    _descriptors.add(descriptor)
    return descriptor


def close_descriptor(descriptor: int) -> None:
    """Close a descriptor that was kept from children; one that is closed already is passed over."""
    if descriptor in _descriptors:
        _descriptors.discard(descriptor)
        os.close(descriptor)


def guard(fragile: Fragile) -> None:
    """Guard something at every fork from now on, as long as it lives."""
    with _forking:
        _fragile.add(fragile)


def _before() -> None:
    _forking.acquire()
    _held.extend(_fragile)
    for fragile in _held:
        fragile.before_fork()


def _in_parent() -> None:
    while _held:
        _held.pop().after_fork()
    _forking.release()


def _in_child() -> None:
    global _forking  # noqa: PLW0603 the inherited one belongs to a thread that is not here
    _forking = threading.RLock()
    while _held:
        _held.pop().forsake()
    while _descriptors:
        with suppress(OSError):
            os.close(_descriptors.pop())


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
