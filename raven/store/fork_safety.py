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


class ForkAware(Protocol):
    """Something that must be still while the process forks, and be left behind in the child."""

    def before_fork(self, timeout_s: float = -1) -> bool:
        """Let other threads finish what they do with it, and hold it; returns whether they have in time."""

    def after_fork(self) -> None:
        """Let go of it in the parent."""

    def abandon_in_child(self) -> None:
        """Give it up in the child."""


_descriptors: set[int] = set()
_registered: WeakSet[ForkAware] = WeakSet()
_held: list[ForkAware] = []
# Whoever forks holds it, once all else is held: one fork at a time, and nothing is added during one.
_registry_lock = threading.RLock()
_FIRST_TIMEOUT_S = 0.05
_MAX_TIMEOUT_S = 5.0


def close_on_fork(descriptor: int) -> int:
    """Close `descriptor` in every child that is forked from now on; returns it."""
    _descriptors.add(descriptor)
    return descriptor


def close_descriptor(descriptor: int) -> None:
    """Close a descriptor that was kept from children; one that is closed already is passed over."""
    if descriptor in _descriptors:
        _descriptors.discard(descriptor)
        os.close(descriptor)


def register(resource: ForkAware) -> None:
    """Guard something at every fork from now on, as long as it lives."""
    with _registry_lock:
        _registered.add(resource)


def _before_fork() -> None:
    """Hold everything.

    Whoever has one of them may need another, or a new one, before it lets go: wait for one only while none is held.
    """
    timeout_s = _FIRST_TIMEOUT_S
    busy = _acquire_all_but(None, timeout_s)
    while busy is not None:
        busy.before_fork()
        timeout_s = min(2 * timeout_s, _MAX_TIMEOUT_S)
        busy = _acquire_all_but(busy, timeout_s)


def _acquire_all_but(held: ForkAware | None, timeout_s: float) -> ForkAware | None:
    """Hold what is not held yet, and let nothing be added; or let go of all, and return which was not free in time."""
    _registry_lock.acquire()
    _held.extend([] if held is None else [held])
    for resource in list(_registered):
        if resource is held:
            continue
        if not resource.before_fork(timeout_s):
            _release_all()
            return resource
        _held.append(resource)
    return None


def _release_all() -> None:
    while _held:
        _held.pop().after_fork()
    _registry_lock.release()


def _after_in_child() -> None:
    global _registry_lock  # noqa: PLW0603 the inherited one belongs to a thread that is not here
    _registry_lock = threading.RLock()
    while _held:
        _held.pop().abandon_in_child()
    while _descriptors:
        with suppress(OSError):
            os.close(_descriptors.pop())


os.register_at_fork(before=_before_fork, after_in_parent=_release_all, after_in_child=_after_in_child)
