"""Descriptors that a forked child must not keep.

A doorbell's read end in a child would make a dead subscriber look alive, and an inherited election lock would outlive
its process. Descriptors belong to the process, so this one set of them does too; it is the only module state in raven
that changes.
"""

from __future__ import annotations

import os
from contextlib import suppress

_private: set[int] = set()


def keep_private(descriptor: int) -> int:
    """Close `descriptor` in every child that is forked from now on; returns it."""
    _private.add(descriptor)
    return descriptor


def close(descriptor: int) -> None:
    """Close a descriptor that was kept private; one that is closed already is passed over."""
    if descriptor in _private:
        _private.discard(descriptor)
        os.close(descriptor)


def _close_all() -> None:
    while _private:
        with suppress(OSError):
            os.close(_private.pop())


os.register_at_fork(after_in_child=_close_all)
