"""New messages: the error for a wrong parameter of `send` has its name and its value."""

from __future__ import annotations

from typing import Any

import pytest

from raven import AddressError, InputError
from raven.model.address import parse_address
from raven.model.new_message import NewMessage, build, build_many

SENDER = parse_address("conductor:swarm-1")
LIMIT = 1000
GOOD: dict[str, Any] = {"to": "architect:swarm-1", "type": "plan", "body": {"step": 1}}
LONG = "x" * 1025


def new_message(**parameters: Any) -> NewMessage:
    options: Any = {**GOOD, **parameters}
    return build(SENDER, LIMIT, options.pop("to"), options.pop("type"), options.pop("body"), options)


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
    assert getattr(new_message(**{parameter: value}).row, column) == stored


def test_spans_become_microseconds() -> None:
    message = new_message(delay_s=1.5, expires_in_s=0.25)

    assert (message.delay_us, message.lifetime_us) == (1_500_000, 250_000)


def test_without_spans_a_message_is_ready_at_once_and_never_expires() -> None:
    assert (new_message().delay_us, new_message().lifetime_us) == (0, None)


def test_the_error_of_many_says_which_message_is_wrong() -> None:
    with pytest.raises(AddressError, match="message 1 of send_many: address 'nobody' has no ':'"):
        build_many(SENDER, LIMIT, [GOOD, {**GOOD, "to": "nobody"}])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "plan"}, "'to' is missing"),
        ({"to": "architect:swarm-1"}, "'type' is missing"),
        ({**GOOD, "recipient": "a:s"}, "send has no parameter 'recipient': use body, correlation_id,"),
        ({**GOOD, "sender": "a:s"}, "send has no parameter 'sender'"),
        ({**GOOD, "max_body_bytes": 5}, "send has no parameter 'max_body_bytes'"),
        ("architect:swarm-1", "not a dict"),
        (None, "None is not a dict"),
    ],
)
def test_a_message_of_many_that_is_no_dict_of_sends_parameters_is_refused(message: Any, reason: str) -> None:
    with pytest.raises(InputError, match=f"message 0 of send_many: .*{reason}"):
        build_many(SENDER, LIMIT, [message])


@pytest.mark.parametrize("messages", [None, 5])
def test_many_that_are_no_list_are_refused(messages: Any) -> None:
    with pytest.raises(InputError):
        build_many(SENDER, LIMIT, messages)
