"""The tree of errors: its drawing is correct, and each error has the base classes that users expect."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import raven
from raven import errors

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


def drawn_tree() -> dict[str, tuple[str | None, str | None]]:
    """Read the docstring: the name of each error, with its parent and its built-in base class."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    branch: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ((?:[│ ]   )*)(├── |└── )?(\w+Error)(?: \((\w+)\))?(?:\s|$)", line)
        if match:
            depth = len(match[1]) // 4 + bool(match[2])
            del branch[depth:]
            tree[match[3]] = (branch[-1] if branch else None, match[4])
            branch.append(match[3])
    return tree


def real_tree() -> dict[str, tuple[str | None, str | None]]:
    return {kind.__name__: (_parent(kind), _builtin(kind)) for kind in ALL}


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    assert drawn_tree() == real_tree()
    assert len(drawn_tree()) > 15


def test_every_error_is_a_raven_error_and_public() -> None:
    for kind in ALL:
        assert issubclass(kind, raven.RavenError)
        assert kind.__name__ in raven.__all__
        assert getattr(raven, kind.__name__) is kind


def test_input_and_configuration_errors_are_value_errors_and_nothing_else_is() -> None:
    expected = set(_below(raven.InputError)) | {raven.ConfigError}

    assert {kind for kind in ALL if issubclass(kind, ValueError)} == expected


def test_missing_things_are_lookup_errors_and_nothing_else_is() -> None:
    assert {kind for kind in ALL if issubclass(kind, LookupError)} == set(_below(raven.NotFoundError))


def test_only_a_busy_bus_a_full_disk_or_a_silent_server_is_worth_the_same_call_again() -> None:
    assert {kind for kind in ALL if kind.retryable} == {raven.BusyError, raven.DiskFullError, raven.UnreachableError}


@pytest.mark.parametrize("kind", ALL)
def test_every_error_says_in_a_docstring_what_it_means(kind: type[Exception]) -> None:
    assert kind.__doc__


def test_a_schema_error_without_fields_has_none() -> None:
    assert raven.SchemaValidationError("x").fields == {}
    assert raven.SchemaValidationError("x", {"a": "b"}).fields == {"a": "b"}


def _below(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _below(child)


def _parent(kind: type[Exception]) -> str | None:
    parent = kind.__bases__[0]
    return parent.__name__ if parent in ALL else None


def _builtin(kind: type[Exception]) -> str | None:
    others = kind.__bases__[1:]
    return others[0].__name__ if others else None
