"""Fork safety: a forked child never shares its parent's connections, descriptors and locks.

A doorbell's read end in a child would make a dead subscriber look alive. An inherited election lock would outlive its
process. An inherited SQLite connection is dangerous: SQLite's bookkeeping in the child lists locks that only the parent
holds. A new connection would rely on it (https://sqlite.org/howtocorrupt.html, section 2.6).
Descriptors and forks belong to the process, so the sets here do too; they are raven's only changing module state.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet


class ForkAware(Protocol):
    """An object that must be idle while the process forks, and that the child abandons."""

    lock: threading.RLock  # protects the object: a fork takes it

    def is_used_by_others(self) -> bool:
        """Whether another thread uses the object without `lock`."""

    def wait_for_others(self) -> None:
        """Wait until no other thread uses the object without `lock`."""

    def abandon_in_child(self) -> None:
        """Abandon it in the child."""


_descriptors: set[int] = set()
_registered: WeakSet[ForkAware] = WeakSet()
# Each generator holds one lock until it is dropped. C code drops them after the fork: before the first instruction of a
# Python function a signal handler could raise.
_held: list[Generator[bool, None, None]] = []
# One fork at a time, and no registration during a fork.
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
        try:
            _descriptors.discard(descriptor)
        finally:  # also if a signal handler raises here
            os.close(descriptor)


def register(resource: ForkAware) -> None:
    """Prepare `resource` for every fork from now on, as long as it lives."""
    with _registry_lock:
        _registered.add(resource)


def _before_fork() -> None:
    """Lock every registered object."""
    try:
        _hold_all()
    except BaseException:
        # Python reports an exception of a signal handler, and forks all the same.
        _hold_all()
        raise


def _hold_all() -> None:
    """Lock every registered object.

    A thread that holds one object may need another, or a new one, before it releases the first. So this waits for one
    object only while it holds no other.
    """
    busy: ForkAware | None = None
    timeout_s = _FIRST_TIMEOUT_S
    while True:
        held: list[Generator[bool, None, None]] = []
        if busy is not None:
            busy.wait_for_others()
            _hold(held, busy.lock, -1)
            timeout_s = min(2 * timeout_s, _MAX_TIMEOUT_S)
        _hold(held, _registry_lock, -1)
        for resource in list(_registered):
            if not _hold(held, resource.lock, timeout_s) or resource.is_used_by_others():
                busy = resource
                break
        else:
            _held.extend(held)
            return


def _hold(held: list[Generator[bool, None, None]], lock: threading.RLock, timeout_s: float) -> bool:
    """Add to `held` a generator that holds the lock; returns whether the lock was free in time."""
    holding = hold(lock, timeout_s)
    held.append(holding)
    return next(holding)


def hold(lock: threading.Lock | threading.RLock, timeout_s: float) -> Generator[bool, None, None]:
    """Return a generator that yields whether it got the lock in time, and holds it until it is dropped.

    No exception of a signal handler can leave the lock taken.
    """
    # `map` records in C that the lock is taken. Between the begin of `finally` and the release no handler can run.
    taken: list[bool] = []
    try:
        taken.extend(map(lock.acquire, (True,), (timeout_s,)))
        yield taken[0]
    finally:
        if taken and taken[0]:
            lock.release()


def _after_in_child() -> None:
    global _registry_lock  # noqa: PLW0603 the inherited lock belongs to a thread that the child does not have
    _registry_lock = threading.RLock()
    _held.clear()
    for resource in list(_registered):
        resource.abandon_in_child()
    while _descriptors:
        with suppress(OSError):
            os.close(_descriptors.pop())


os.register_at_fork(before=_before_fork, after_in_parent=_held.clear, after_in_child=_after_in_child)
