"""Deprecation: a name that was public works for one more minor release, with a warning at the line that uses it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def resolve(old: str, path: str) -> Any:
    """Return the object at the dotted path of its module and name; warns the line that asked for `old`."""
    warnings.warn(f"{old} is deprecated: use {path}", DeprecationWarning, stacklevel=3)
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def renamed_to(new: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Make a function one by an old name: each call warns the line of the caller that `new` is its name."""

    def decorate(function: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(function)
        def warn_and_call(*args: _P.args, **options: _P.kwargs) -> _T:
            text = f"{function.__qualname__} is deprecated: use {new}"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            return function(*args, **options)

        return warn_and_call

    return decorate
