"""Addresses: valid and invalid ones; each error names the value."""

from __future__ import annotations

import pytest

from raven import AddressError
from raven.model.address import MAX_LENGTH, make_address, parse_address, parse_target, parse_targets

GOOD_PARTS = ["architect", "a", "Swarm-1", "a b", "münchen", "東京", "🦉", "a.b/c\\d", "..", "a%2Ab", "x" * 200]
BAD_PARTS = [
    ("", "is empty"),
    ("*x", "contains '*'"),
    ("x*", "contains '*'"),
    ("**", "contains '*'"),
    (" x", "begins or ends with a blank"),
    ("x ", "begins or ends with a blank"),
    (" ", "begins or ends with a blank"),
    ("\tx", "begins or ends with a blank"),
    ("x\n", "begins or ends with a blank"),
    ("x\u00a0", "begins or ends with a blank"),
    ("\u3000x", "begins or ends with a blank"),
    ("x\x00y", "U+0000"),
    ("x\ny", "U+000A"),
    ("x\x1by", "U+001B"),
    ("x\x7fy", "U+007F"),
    ("x\x85y", "U+0085"),
    ("x\x9fy", "U+009F"),
    ("x\u2028y", "U+2028"),
    ("x\u2029y", "U+2029"),
    ("x\ud800y", "U+D800"),
    ("x\udfffy", "U+DFFF"),
]


@pytest.mark.parametrize("part", GOOD_PARTS)
def test_a_role_and_a_session_make_an_address_that_parses_back(part: str) -> None:
    address = make_address(session=part, role=f"{part}2")

    assert parse_address(str(address)) == address
    assert (address.role, address.session) == (f"{part}2", part)


@pytest.mark.parametrize(("form", "name"), [("{}:swarm-1", "role"), ("architect:{}", "session")])
@pytest.mark.parametrize(("part", "reason"), BAD_PARTS)
def test_a_bad_part_is_refused_with_the_value_and_the_reason(form: str, name: str, part: str, reason: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(form.format(part))

    for said in (reason, repr(form.format(part)), name):
        assert said in str(caught.value)


@pytest.mark.parametrize(("part", "reason"), [*BAD_PARTS, ("a:b", "contains ':'"), ("*", "contains '*'")])
def test_making_an_address_names_the_bad_part(part: str, reason: str) -> None:
    with pytest.raises(AddressError, match=r"^role ") as of_role:
        make_address(session="swarm-1", role=part)
    with pytest.raises(AddressError, match=r"^session ") as of_session:
        make_address(session=part, role="architect")

    assert reason in str(of_role.value)
    assert reason in str(of_session.value)


@pytest.mark.parametrize("part", [None, 5, b"architect", ["architect"]])
def test_making_an_address_of_something_that_is_no_text_is_refused(part: object) -> None:
    with pytest.raises(AddressError, match="not a string"):
        make_address(session="swarm-1", role=part)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["architect", "", "architect;swarm-1", "architect\uff1aswarm-1"])
def test_a_text_without_a_colon_is_refused_with_the_form_to_write(text: str) -> None:
    with pytest.raises(AddressError, match=r"has no ':'; write it as <role>:<session>"):
        parse_address(text)


def test_a_second_colon_is_refused() -> None:
    with pytest.raises(AddressError, match="its session contains ':'"):
        parse_address("architect:swarm:1")


@pytest.mark.parametrize("value", [None, 5, 5.0, b"architect:swarm-1", ("architect", "swarm-1"), ["a:s"], {"a": "s"}])
def test_a_value_that_is_not_a_string_is_no_address(value: object) -> None:
    with pytest.raises(AddressError, match="not a string"):
        parse_address(value)  # type: ignore[arg-type]


def test_the_longest_address_is_valid_and_one_more_character_is_refused() -> None:
    longest = "r" * 200 + ":" + "s" * (MAX_LENGTH - 201)

    assert str(parse_address(longest)) == longest
    with pytest.raises(AddressError, match=f"has {MAX_LENGTH + 1} characters; the limit is {MAX_LENGTH}"):
        parse_address(longest + "s")
    with pytest.raises(AddressError, match=f"the limit is {MAX_LENGTH}"):
        make_address(session="s" * MAX_LENGTH, role="r")


@pytest.mark.parametrize("text", ["*:swarm-1", "architect:*", "*:*"])
def test_a_pattern_is_a_target_but_no_address(text: str) -> None:
    assert parse_target(text).is_pattern
    assert str(parse_target(text)) == text
    with pytest.raises(AddressError, match="broadcast pattern, but one address is needed"):
        parse_address(text)


def test_a_plain_address_is_no_pattern() -> None:
    assert not parse_target("architect:swarm-1").is_pattern


def test_targets_are_one_text_or_a_list_without_repeats_in_order() -> None:
    assert [str(target) for target in parse_targets("a:s")] == ["a:s"]
    assert [str(target) for target in parse_targets(["b:s", "a:s", "b:s"])] == ["b:s", "a:s"]
    assert [str(target) for target in parse_targets(("*:s", "a:s"))] == ["*:s", "a:s"]


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ([], "empty list"),
        ((), "empty list"),
        (None, "NoneType, not an address"),
        (5, "int, not an address"),
        (b"a:s", "bytes, not an address"),
        ({"a:s": 1}, "dict, not an address"),
        ({"a:s"}, "set, not an address"),
        ([["a:s"]], r"\['a:s'\] is not a string"),
        (["a:s", None], "None is not a string"),
        (["a:s", "b"], "'b' has no ':'"),
        (["a:s", ""], "'' has no ':'"),
    ],
)
def test_bad_targets_are_refused_with_the_reason(to: object, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        parse_targets(to)  # type: ignore[arg-type]
