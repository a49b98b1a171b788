"""The tree of errors: its drawing is correct, and each error has the base classes that users expect."""

from __future__ import annotations

import ast
import datetime
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

import raven
import raven_http
import raven_mcp
import raven_rpc
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
    expected = {*_below(raven.InputError), raven.ConfigError} & {*ALL}

    assert {kind for kind in ALL if issubclass(kind, ValueError)} == expected


def test_missing_things_are_lookup_errors_and_nothing_else_is() -> None:
    assert {kind for kind in ALL if issubclass(kind, LookupError)} == set(_below(raven.NotFoundError))


def test_only_a_busy_bus_a_full_disk_or_a_silent_server_is_worth_the_same_call_again() -> None:
    assert {kind for kind in ALL if kind.retryable} == {raven.BusyError, raven.DiskFullError, raven.UnreachableError}


def test_no_error_shows_the_repr_of_a_whole_value() -> None:
    """A `repr` walks the whole value: `abbreviate` does not."""
    found = [
        f"{path}:{node.lineno}"
        for home in (raven, raven_rpc, raven_http, raven_mcp)
        for path in Path(str(home.__file__)).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.FormattedValue) and node.conversion in (ord("r"), ord("a")))
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("repr", "ascii"))
        or (isinstance(node, ast.Constant) and isinstance(node.value, str) and "%r" in node.value)
    ]

    assert [place for place in found if "raven/errors.py:" not in place] == []


def bomb(levels: int) -> list[object]:
    """Return a list that holds itself a billion times and more, in a few lists."""
    value: list[object] = ["x"] * 9
    for _ in range(levels):
        value = [value] * 9
    return value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plan", "'plan'"),
        (None, "None"),
        (True, "True"),
        (-1.5, "-1.5"),
        (1 << 64, "18446744073709551616"),
        pytest.param(10**5000, "an integer of 16610 bits", id="a long integer"),
        (b"ab", "b'ab'"),
        (["a", 2], "['a', 2]"),
        ((), "()"),
        ({}, "{}"),
        (set(), "set()"),
        ((1, 2, 3, 4, 5), "(1, 2, 3, ...)"),
        ({"a": {"b": {"c": {}}}}, "{'a': {'b': {...}}}"),
        ({1}, "{1}"),
        (datetime.date(2026, 1, 2), "datetime.date(2026, 1, 2)"),
        (int, "<class int>"),
        (object(), "<object>"),
        (KeyError("a"), "KeyError('a')"),
        ("\x1b[2J", "'\\x1b[2J'"),
    ],
)
def test_an_error_shows_a_value_as_python_writes_it(value: object, shown: str) -> None:
    assert errors.abbreviate(value) == shown


class _Endless:
    def __repr__(self) -> str:
        raise AssertionError("this would walk the whole value")


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**7,
        b"x" * 10**7,
        bytearray(10**7),
        10**10**5,
        list(range(10**6)),
        dict.fromkeys(range(10**6)),
        set(range(10**6)),
        bomb(200),
        {"a": bomb(200), "b" * 10**6: ["c" * 10**6] * 10**6},
        _Endless(),
        [_Endless()],
        ValueError(bomb(200)),
    ],
    ids=range(12),
)
def test_an_error_shows_a_large_value_short_and_without_walking_it(value: object) -> None:
    tracemalloc.start()
    try:
        shown = errors.abbreviate(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 0 < len(shown) <= 60
    assert peak < 20_000


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
