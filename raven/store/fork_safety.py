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

    def before_fork(self, timeout_s: float = -1) -> bool:
        """Let other threads finish what they do with it, and hold it; returns whether they have in time."""

    def after_fork(self) -> None:
        """Let go of it in the parent."""

    def forsake(self) -> None:
        """Give it up in the child."""


_descriptors: set[int] = set()
_fragile: WeakSet[Fragile] = WeakSet()
_held: list[Fragile] = []
# Whoever forks holds it, once all else is held: one fork at a time, and nothing is added during one.
_adding = threading.RLock()
_FIRST_GRACE_S = 0.05
_LONGEST_GRACE_S = 5.0


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
    with _adding:
        _fragile.add(fragile)


def _before() -> None:
    """Hold everything.

    Whoever has one of them may need another, or a new one, before it lets go: wait for one only while none is held.
    """
    grace_s = _FIRST_GRACE_S
    awaited = _hold_all_but(None, grace_s)
    while awaited is not None:
        awaited.before_fork()
        grace_s = min(2 * grace_s, _LONGEST_GRACE_S)
        awaited = _hold_all_but(awaited, grace_s)


def _hold_all_but(held: Fragile | None, grace_s: float) -> Fragile | None:
    """Hold what is not held yet, and let nothing be added; or let go of all, and return which was not free in time."""
    _adding.acquire()
    _held.extend([] if held is None else [held])
    for fragile in list(_fragile):
        if fragile is held:
            continue
        if not fragile.before_fork(grace_s):
            _let_go()
            return fragile
        _held.append(fragile)
    return None


def _let_go() -> None:
    while _held:
        _held.pop().after_fork()
    _adding.release()


def _in_child() -> None:
    global _adding  # noqa: PLW0603 the inherited one belongs to a thread that is not here
    _adding = threading.RLock()
    while _held:
        _held.pop().forsake()
    while _descriptors:
        with suppress(OSError):
            os.close(_descriptors.pop())


os.register_at_fork(before=_before, after_in_parent=_let_go, after_in_child=_in_child)
