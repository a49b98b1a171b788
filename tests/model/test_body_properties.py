"""Bodies by properties: every JSON value comes back with its types; any other value is refused and not stored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raven import BodyError, BusClient, InputError
from raven.model import body
from raven.model.body import MAX_DEPTH, copy, decode, encode, parse
from raven_rpc import Client
from tests.rpc_server import Served

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(10**4000), 10**4000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        [0, 0.0, -0.0, 1, 1.0, 2**53 + 1, 2**63, 5e-324, 1.7976931348623157e308, 1e16, 123456789.123456789]
    ),
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | st.sampled_from(["\0", "\u2028", "\ufeff", "\x7f", '"\\', "NaN"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=15,
)  # fmt: skip


class NotJson:
    pass


NO_JSON = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, b"x", {1}, NotJson(), 1j, "\ud800", {"\udfff": 1}, 10**5000]),
    st.builds(bytearray),
    st.dictionaries(st.binary(min_size=1), st.none(), min_size=1),
)  # fmt: skip
INSIDE = st.sampled_from(
    [lambda bad: bad, lambda bad: [bad], lambda bad: {"x": [1, {"y": bad}]}, lambda bad: [[], (bad,)]]
)


@pytest.fixture(scope="module")
def bus(shared: Served) -> Iterator[BusClient]:
    """Return one client of the file for all examples."""
    with BusClient.at("bodies:s", shared.db) as client:
        yield client


@pytest.fixture(scope="module")
def client(shared: Served) -> Iterator[Client]:
    """Return one client of the server for all examples."""
    with Client(shared.path, "bodies:s") as client:
        yield client


def exactly(value: Any) -> str:
    """Return a key that differs for 1, 1.0 and True, and for 0.0 and -0.0."""
    return repr(value)


@settings(max_examples=150, deadline=None, database=None)
@given(VALUES)
def test_a_value_comes_back_exactly_and_so_does_its_copy(body: Any) -> None:
    text = encode(body)

    assert exactly(decode(text)) == exactly(body)
    assert exactly(copy(body, text)) == exactly(body)
    assert exactly(parse(text)) == exactly(body)
    assert text.encode()


@settings(max_examples=60, deadline=None, database=None)
@given(VALUES)
def test_the_store_and_the_socket_return_the_same_body(bus: BusClient, client: Client, body: Any) -> None:
    stored, pushed = bus.send("reader:s", "note", body), client.send("reader:s", "note", body)

    bodies = [one.body for one in (stored, pushed)]
    bodies += [way.read(sent.id).body for way in (bus, client) for sent in (stored, pushed)]
    assert {exactly(one) for one in bodies} == {exactly(body)}


@settings(max_examples=60, deadline=None, database=None)
@given(NO_JSON, INSIDE)
def test_a_value_outside_json_is_refused_by_both_clients_and_not_stored(
    bus: BusClient, client: Client, bad: Any, inside: Any
) -> None:
    before = bus.last_id()

    for way in (bus, client):
        with pytest.raises(BodyError):
            way.send("reader:s", "note", inside(bad))
        with pytest.raises(InputError):
            way.send_many([{"to": "reader:s", "type": "note"}, {"to": "reader:s", "type": "note", "body": inside(bad)}])

    assert bus.last_id() == before


@settings(max_examples=100, deadline=None, database=None)
@given(VALUES)
def test_the_limit_of_bytes_is_exact(body: Any) -> None:
    size = len(encode(body).encode())

    assert encode(body, size) == encode(body)
    with pytest.raises(BodyError, match="over the limit"):
        encode(body, size - 1)


@settings(max_examples=100, deadline=None, database=None)
@given(st.integers(1, MAX_DEPTH + 3), st.lists(st.booleans(), min_size=MAX_DEPTH + 3), TEXTS)
def test_the_limit_of_depth_is_exact_whatever_nests(levels: int, kinds: list[bool], leaf: str) -> None:
    body: Any = leaf
    for is_list in kinds[:levels]:
        body = [leaf, body] if is_list else {"[[{{": leaf, leaf: body}

    if levels <= MAX_DEPTH:
        assert exactly(decode(encode(body))) == exactly(body)
    else:
        with pytest.raises(BodyError, match=f"deeper than {MAX_DEPTH} levels"):
            encode(body)


@settings(max_examples=200, deadline=None, database=None)
@given(VALUES | st.recursive(st.text('[]{}"\\\\', max_size=3), st.lists), st.booleans(), st.integers(1, 8))
def test_the_depth_of_a_text_is_that_of_its_value(value: Any, is_spaced: bool, piece: int) -> None:
    def depth_of(value: Any) -> int:
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if items is None else 1 + max(map(depth_of, items), default=0)

    text = json.dumps(value, indent=1) if is_spaced else encode(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body, "_PIECE", piece)

        assert body.depth(text) == depth_of(value)


def test_a_repeated_name_hides_what_nests_too_deep() -> None:
    assert decode('{"a": ' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + ', "a": 1}') == {"a": 1}


@settings(max_examples=150, deadline=None, database=None)
@given(st.one_of(st.text(), st.text(st.sampled_from('[]{}",:0123456789.eE+-\\ud8fnaltrs \n'), max_size=30)))
def test_any_text_is_read_as_json_or_refused(text: str) -> None:
    try:
        body = parse(text)
    except BodyError:
        with pytest.raises(ValueError, match=r"\w"):
            json.loads(text, parse_constant=int)
        return

    assert exactly(body) == exactly(json.loads(text))


@settings(max_examples=150, deadline=None, database=None)
@given(VALUES)
def test_json_in_another_writers_style_reads_the_same(body: Any) -> None:
    assert exactly(decode(f"\n {json.dumps(body, indent=1)} \n")) == exactly(body)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r'"\ud800"', "\ufffd"),
        (r'["a\udfffb", {"\uDABC": "\ud83e\udd89"}]', ["a\ufffdb", {"\ufffd": "🦉"}]),
        (r'"C:\\ud800"', "C:\\ud800"),
        ("1e999", "1e999"),
        ("[" * 101 + "]" * 101, "[" * 101 + "]" * 101),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_external_json_beyond_utf_8_or_python_reads_as_plain_text(written: str, read: Any) -> None:
    body = decode(written)

    assert body == read
    assert json.dumps(body, ensure_ascii=False).encode()
    assert not isinstance(body, float) or math.isfinite(body)
