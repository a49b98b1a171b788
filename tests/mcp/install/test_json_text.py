"""JSON text: a member goes in and out, and every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raven_mcp.install.json_text import NotPlainError, parse, put, remove

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)
STYLES = st.sampled_from([{"indent": 2}, {"indent": 4}, {"indent": "\t"}, {}, {"separators": (",", ":")}])


@settings(max_examples=300, deadline=None)
@given(OBJECTS, STYLES, st.booleans(), VALUES)
def test_a_member_is_put_in_and_taken_out_without_a_trace(
    root: dict[str, Any], style: dict[str, Any], ensure_ascii: bool, value: Any
) -> None:
    text = json.dumps(root, ensure_ascii=ensure_ascii, **style) + "\n"
    root.pop("new key", None)

    changed = put(text, ("new key", "inner"), value)

    assert parse(changed) == {**root, "new key": {"inner": value}}
    assert list(parse(changed))[:-1] == list(root)
    assert remove(changed, ("new key",)) == text


@settings(max_examples=200, deadline=None)
@given(OBJECTS.filter(bool), STYLES, VALUES, st.data())
def test_a_value_is_replaced_in_its_place(root: dict[str, Any], style: dict[str, Any], value: Any, data: Any) -> None:
    key = data.draw(st.sampled_from(sorted(root)))

    changed = put(json.dumps(root, **style), (key,), value)

    assert parse(changed) == {**root, key: value}
    assert list(parse(changed)) == list(root)


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=4), STYLES, st.data())
def test_an_item_is_taken_out_of_its_list(items: list[Any], style: dict[str, Any], data: Any) -> None:
    index = data.draw(st.integers(0, len(items) - 1))

    changed = remove(json.dumps({"list": items}, **style), ("list", index))

    assert parse(changed) == {"list": items[:index] + items[index + 1 :]}


@pytest.mark.parametrize(
    ("text", "path", "changed"),
    [
        ("", ("a",), '{\n  "a": 1\n}\n'),
        ("{}", ("a",), '{\n  "a": 1\n}'),
        ('{"b": 2}', ("a",), '{"b": 2, "a": 1}'),
        ('{\n\t"b": 2\n}', ("a", "c"), '{\n\t"b": 2,\n\t"a": {\n\t\t"c": 1\n\t}\n}'),
        ('{\r\n    "b": []\r\n}', ("b", 0), '{\r\n    "b": [\r\n        1\r\n    ]\r\n}'),
        ('{"b": [2]}', ("b", 1), '{"b": [2, 1]}'),
        (' {"a" : 5 } ', ("a",), ' {"a" : 1 } '),
    ],
)
def test_a_new_member_has_the_style_of_the_file(text: str, path: tuple[str | int, ...], changed: str) -> None:
    assert put(text, path, 1) == changed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1} // x', "has comments"),
        ('{"a": /* x */ 1}', "has comments"),
        ('{"a": "// no", }', "is not JSON"),
        ('{"a": {"b": 1, "b": 2}}', "two members of the name b"),
        ("[]", "holds no JSON object"),
        ("[" * 10**6, "is not JSON"),
        ('{"a": ' * 10**5, "is not JSON"),
        ("\ufeff{}", "is not JSON"),
    ],
)
def test_a_text_that_is_no_plain_object_is_refused(text: str, reason: str) -> None:
    with pytest.raises(NotPlainError, match=reason):
        parse(text)


@pytest.mark.parametrize(
    ("text", "path"), [('{"a": 1}', ("a", "b")), ('{"a": {}}', ("a", 0)), ('{"a": []}', ("a", "b"))]
)
def test_a_member_of_another_kind_on_the_way_is_refused(text: str, path: tuple[str | int, ...]) -> None:
    with pytest.raises(NotPlainError, match="in the place of a"):
        put(text, path, 1)
