"""Deprecation: a name that was public works for one more minor release, with a warning at the line that uses it."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any


def resolve(old: str, path: str) -> Any:
    """Return the object at the dotted path of its module and name; warns the line that asked for `old`."""
    warnings.warn(f"{old} is deprecated: use {path}", DeprecationWarning, stacklevel=3)
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


class Renamed:
    """A method or property by its old name: `old = Renamed("old", "new")` in a class body."""

    def __init__(self, old: str, new: str) -> None:
        self._old = old
        self._new = new

    def __get__(self, instance: object, owner: type) -> Any:
        """Return the attribute by its new name; warns the line that uses the old one."""
        text = f"{owner.__name__}.{self._old} is deprecated: use {self._new}"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(owner if instance is None else instance, self._new)
