"""Fork safety: a forked child never shares its parent's connections, descriptors and locks.

A doorbell's read end in a child would make a dead subscriber look alive. An inherited election lock would outlive its
process. An inherited SQLite connection is dangerous: SQLite's bookkeeping in the child lists locks that only the parent
holds. A new connection would rely on it (https://sqlite.org/howtocorrupt.html, section 2.6).
Descriptors and forks belong to the process, so the sets here do too; they are raven's only changing module state.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet


class ForkAware(Protocol):
    """An object that must be idle while the process forks, and that the child abandons."""

    def before_fork(self, timeout_s: float = -1) -> bool:
        """Wait until other threads stop using the object, and lock it; return False if the timeout is over first."""

    def after_fork(self) -> None:
        """Unlock it in the parent."""

    def abandon_in_child(self) -> None:
        """Abandon it in the child."""


_descriptors: set[int] = set()
_registered: WeakSet[ForkAware] = WeakSet()
_held: list[ForkAware] = []
# The forking thread takes it after all other locks: one fork at a time, and no registration during a fork.
_registry_lock = threading.RLock()
_FIRST_TIMEOUT_S = 0.05
_MAX_TIMEOUT_S = 5.0


def close_on_fork(descriptor: int) -> int:
    """Close `descriptor` in every child forked from now on; returns the descriptor."""
    _descriptors.add(descriptor)
    return descriptor


def close_descriptor(descriptor: int) -> None:
    """Close a descriptor that `close_on_fork` has recorded; do nothing if it is already closed."""
    if descriptor in _descriptors:
        _descriptors.discard(descriptor)
        os.close(descriptor)


def register(resource: ForkAware) -> None:
    """Prepare `resource` for every fork from now on, as long as it lives."""
    with _registry_lock:
        _registered.add(resource)


def _before_fork() -> None:
    """Lock every registered object.

    A thread that holds one object may need another, or a new one, before it releases the first. So this waits for one
    object only while it holds no other.
    """
    timeout_s = _FIRST_TIMEOUT_S
    busy = _acquire_all_but(None, timeout_s)
    while busy is not None:
        busy.before_fork()
        timeout_s = min(2 * timeout_s, _MAX_TIMEOUT_S)
        busy = _acquire_all_but(busy, timeout_s)


def _acquire_all_but(held: ForkAware | None, timeout_s: float) -> ForkAware | None:
    """Lock the objects not locked yet, and block registrations.

    If one is not free in time, release all and return that one.
    """
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
    global _registry_lock  # noqa: PLW0603 the inherited lock belongs to a thread that the child does not have
    _registry_lock = threading.RLock()
    while _held:
        _held.pop().abandon_in_child()
    while _descriptors:
        with suppress(OSError):
            os.close(_descriptors.pop())


os.register_at_fork(before=_before_fork, after_in_parent=_release_all, after_in_child=_after_in_child)
