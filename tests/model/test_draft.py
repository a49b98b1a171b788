"""Drafts: each parameter of `send` that is wrong is refused with its name and its value, before anything is stored."""

from __future__ import annotations

from typing import Any

import pytest

from raven import AddressError, BodyError, InputError
from raven.model.address import parse_address
from raven.model.draft import Draft, make_draft, make_drafts

SENDER = parse_address("conductor:swarm-1")
LIMIT = 1000
GOOD: dict[str, Any] = {"to": "architect:swarm-1", "type": "plan", "body": {"step": 1}}
LONG = "x" * 1025


def draft(**parameters: Any) -> Draft:
    return make_draft(SENDER, LIMIT, **{**GOOD, **parameters})


@pytest.mark.parametrize(
    ("parameter", "value", "shown"),
    [
        ("to", "architect", "'architect'"),
        ("to", [], "empty list"),
        ("to", ["architect:swarm-1", 7], "7"),
        ("type", "", "type ''"),
        ("type", "  ", "type '  '"),
        ("type", 7, "type '7'"),
        ("type", None, "type 'None'"),
        ("type", LONG, "type 'xxx"),
        ("type", "\ud800", r"type '\ud800'"),
        ("body", {1}, "set"),
        ("urgency", "soon", "urgency 'soon'"),
        ("urgency", "", "urgency ''"),
        ("urgency", "Blocking", "urgency 'Blocking'"),
        ("urgency", None, "urgency None"),
        ("urgency", ["fyi"], "urgency ['fyi']"),
        ("tags", "x", "tags 'x'"),
        ("tags", {"x"}, "tags {'x'}"),
        ("tags", 5, "tags 5"),
        ("tags", [""], "tag ''"),
        ("tags", ["good", 5], "tag '5'"),
        ("tags", ["\udfff"], r"tag '\udfff'"),
        ("correlation_id", "", "correlation_id ''"),
        ("correlation_id", 1.5, "correlation_id '1.5'"),
        ("correlation_id", True, "correlation_id 'True'"),
        ("correlation_id", "\ud800", r"correlation_id '\ud800'"),
        ("task_id", " ", "task_id ' '"),
        ("task_id", ["t"], "task_id \"['t']\""),
        ("task_id", LONG, "task_id 'xxx"),
        ("dedup_key", "", "dedup_key ''"),
        ("dedup_key", b"k", "dedup_key \"b'k'\""),
        ("reply_to", 0, "reply_to 0"),
        ("reply_to", -1, "reply_to -1"),
        ("reply_to", "5", "reply_to '5'"),
        ("reply_to", 5.0, "reply_to 5.0"),
        ("reply_to", True, "reply_to True"),
        ("reply_to", 1 << 43, "reply_to 8796093022208"),
        ("expires_in_s", 0, "expires_in_s 0 "),
        ("expires_in_s", -1, "expires_in_s -1"),
        ("expires_in_s", "5", "expires_in_s '5'"),
        ("expires_in_s", True, "expires_in_s True"),
        ("expires_in_s", float("nan"), "expires_in_s nan"),
        ("expires_in_s", float("inf"), "expires_in_s inf"),
        ("expires_in_s", 1e12, "expires_in_s 1000000000000.0"),
        ("delay_s", -0.1, "delay_s -0.1"),
        ("delay_s", "now", "delay_s 'now'"),
        ("delay_s", False, "delay_s False"),
        ("delay_s", float("nan"), "delay_s nan"),
        ("delay_s", float("inf"), "delay_s inf"),
    ],
)
def test_a_bad_parameter_is_refused_with_its_value(parameter: str, value: Any, shown: str) -> None:
    with pytest.raises(InputError) as caught:
        draft(**{parameter: value})

    assert shown in str(caught.value)


def test_a_body_over_the_limit_of_the_client_is_refused() -> None:
    with pytest.raises(BodyError, match="over the limit of 1,000"):
        draft(body="x" * LIMIT)


@pytest.mark.parametrize(
    ("parameter", "value", "column", "stored"),
    [
        ("type", "x" * 1024, "type", "x" * 1024),
        ("type", "größe 東京", "type", "größe 東京"),
        ("body", None, "body", "null"),
        ("urgency", "blocking", "urgency", 0),
        ("urgency", "prompt", "urgency", 1),
        ("urgency", "fyi", "urgency", 2),
        ("tags", (), "tags", None),
        ("tags", ["b", "a", "b"], "tags", '["b","a","b"]'),
        ("correlation_id", "abc", "correlation_id", "abc"),
        ("correlation_id", 17, "correlation_id", "17"),
        ("task_id", 17, "task_id", "17"),
        ("dedup_key", "once", "dedup_key", "once"),
        ("reply_to", 1, "reply_to", 1),
        ("to", ["a:s", "*:s", "a:s"], "to", "a:s\n*:s"),
    ],
)
def test_a_good_parameter_becomes_its_column(parameter: str, value: Any, column: str, stored: Any) -> None:
    assert draft(**{parameter: value}).columns[column] == stored


def test_spans_become_microseconds() -> None:
    made = draft(delay_s=1.5, expires_in_s=0.25)

    assert (made.delay_us, made.lifetime_us) == (1_500_000, 250_000)


def test_without_spans_a_message_is_ready_at_once_and_never_expires() -> None:
    assert (draft().delay_us, draft().lifetime_us) == (0, None)


def test_the_error_of_many_says_which_message_is_wrong() -> None:
    with pytest.raises(AddressError, match="message 1 of send_many: address 'nobody' has no ':'"):
        make_drafts(SENDER, LIMIT, [GOOD, {**GOOD, "to": "nobody"}])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "plan"}, "'to' is missing"),
        ({"to": "architect:swarm-1"}, "'type' is missing"),
        ({**GOOD, "recipient": "a:s"}, "'recipient' is no parameter of send: use body, correlation_id,"),
        ({**GOOD, "sender": "a:s"}, "'sender' is no parameter"),
        ({**GOOD, "max_body_bytes": 5}, "'max_body_bytes' is no parameter"),
        ("architect:swarm-1", "not a dict"),
        (None, "None is not a dict"),
    ],
)
def test_a_message_of_many_that_is_no_dict_of_sends_parameters_is_refused(message: Any, reason: str) -> None:
    with pytest.raises(InputError, match=f"message 0 of send_many: .*{reason}"):
        make_drafts(SENDER, LIMIT, [message])


@pytest.mark.parametrize("messages", [None, 5])
def test_many_that_are_no_list_are_refused(messages: Any) -> None:
    with pytest.raises(InputError):
        make_drafts(SENDER, LIMIT, messages)
