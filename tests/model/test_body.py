"""Bodies: every JSON value comes back; values outside JSON are refused with a reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import strategies as st

from raven import BodyError
from raven.model import body
from raven.model.body import MAX_DEPTH, copy, decode, encode, parse
from raven.model.limits import DEFAULT_MAX_BYTES

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)  # fmt: skip


def nested(levels: int, opening: Any = list) -> Any:
    value: Any = opening()
    for _ in range(levels - 1):
        value = {"inner": value} if opening is dict else [value]
    return value


@pytest.mark.parametrize("body", [(1, 2), {"a": (1,)}, {1: "a"}, {"a": {"b": 1}}, IntEnum("Kind", "A").A, {None: True}])
def test_a_copy_of_a_body_is_its_decoded_json(body: Any) -> None:
    text = encode(body)

    assert repr(copy(body, text)) == repr(json.loads(text))


def test_the_text_is_compact_and_keeps_unicode_readable() -> None:
    assert encode({"ort": ["Zürich", "東京", "🦉"], "n": 1}) == '{"ort":["Zürich","東京","🦉"],"n":1}'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *((value, "not JSON") for value in (float("nan"), float("inf"), float("-inf"), [1, {"x": float("nan")}])),
        *((value, r"lone surrogate '\\ud") for value in ("\ud800", ["x\udfff"], {"k": "\udc80"}, {"\ud83d": 1})),
        ({1, 2}, "set"),
        (frozenset(), "frozenset"),
        (datetime(2026, 1, 1, tzinfo=UTC), "datetime"),
        (b"bytes", "bytes"),
        (Decimal("1.5"), "Decimal"),
        (object(), "object"),
        ([object], "type"),
        ({"x": {3}}, "set"),
        ({("a", "b"): 1}, "tuple"),
    ],
)
def test_a_value_outside_json_is_refused_by_its_name(value: Any, said: str) -> None:
    with pytest.raises(BodyError, match=said):
        encode(value)


def test_a_circular_body_is_refused() -> None:
    circle: list[Any] = []
    circle.append({"again": circle})

    with pytest.raises(BodyError, match=r"[Cc]ircular"):
        encode(circle)


@pytest.mark.parametrize("opening", [list, dict])
def test_the_deepest_body_is_valid_and_one_more_level_is_refused(opening: Any) -> None:
    assert decode(encode(nested(MAX_DEPTH, opening))) == nested(MAX_DEPTH, opening)
    with pytest.raises(BodyError, match=f"deeper than {MAX_DEPTH} levels"):
        encode(nested(MAX_DEPTH + 1, opening))


def test_a_body_too_deep_for_python_itself_is_refused_like_any_deep_one() -> None:
    with pytest.raises(BodyError, match=f"deeper than {MAX_DEPTH} levels"):
        encode(nested(100_000))


def test_brackets_in_text_are_not_depth() -> None:
    body = {"text": "[{" * 1000, "wide": [[] for _ in range(1000)]}

    assert decode(encode(body)) == body


def test_the_largest_body_is_valid_and_one_more_byte_is_refused_with_the_remedy() -> None:
    largest = "x" * (DEFAULT_MAX_BYTES - 2)  # and its quotes

    assert len(encode(largest)) == DEFAULT_MAX_BYTES == 4 * 1024 * 1024
    with pytest.raises(BodyError, match=r"4,194,305 bytes.*over the limit of 4,194,304.*raise max_body_bytes"):
        encode(largest + "x")


def test_the_limit_can_be_set_and_counts_bytes_of_utf8_not_characters() -> None:
    assert encode("é" * 4, max_bytes=10) == '"éééé"'
    with pytest.raises(BodyError, match="12 bytes as JSON, over the limit of 10"):
        encode("é" * 5, max_bytes=10)


@pytest.mark.parametrize("text", ["", "hello", "{", "[1,]", "{'a': 1}", "NaN", "[Infinity]", "-Infinity", "1 2"])
def test_parse_refuses_invalid_json_and_shows_it(text: str) -> None:
    with pytest.raises(BodyError) as caught:
        parse(text)

    assert repr(text) in str(caught.value)


def test_parse_shows_only_the_start_of_a_long_text() -> None:
    with pytest.raises(BodyError) as caught:
        parse("x" * 100_000)

    assert len(str(caught.value)) < 300


def test_parse_refuses_a_text_too_deep_for_python() -> None:
    with pytest.raises(BodyError, match=f"deeper than {MAX_DEPTH} levels"):
        parse("[" * 100_000 + "]" * 100_000)


def test_a_python_without_the_json_encoder_in_c_writes_bodies_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)

    encode = body._make_encode()

    assert encode({"a": [1, "ä"]}) == body.encode({"a": [1, "ä"]}) == '{"a":[1,"ä"]}'
