"""Other ways into a bound socket than plain requests: batches, notifications, names in odd places."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from raven import BusClient
from tests.serving import Line, Served

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]

ME = "worker:s"
NOTE = {"to": "boss:s", "type": "note"}


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Fill a bus with one message to ME, and one that is none of its business."""
    boss = connect("boss:s")
    connect(ME)
    boss.send(ME, "note", "to me")
    boss.send("other:s", "note", "a secret")
    return boss


@pytest.fixture
def only(serve: Serve, bus: BusClient) -> Iterator[Line]:
    """Connect to a socket that is bound to ME alone."""
    with serve("--as", ME).connect() as line:
        yield line


def test_each_request_of_a_batch_is_held_to_the_rule(only: Line, bus: BusClient) -> None:
    only.write(
        json.dumps(
            [
                {"jsonrpc": "2.0", "id": 1, "method": "send", "params": {"from": "boss:s", **NOTE}},
                {"jsonrpc": "2.0", "id": 2, "method": "send", "params": {"from": ME, **NOTE}},
                {"jsonrpc": "2.0", "id": 3, "method": "hello", "params": {"as": "boss:s"}},
                {"jsonrpc": "2.0", "id": 4, "method": "send", "params": NOTE},
            ]
        )
    )

    answers = sorted(only.answer(), key=lambda answer: answer["id"])
    assert ["error" in answer for answer in answers] == [True, False, True, False]
    assert [answers[1]["result"]["sender"], answers[3]["result"]["sender"]] == [ME, ME]
    assert bus.last_id() == 4


def test_a_body_that_names_a_sender_is_only_a_body(only: Line) -> None:
    sent = only.ask("send", {**NOTE, "body": {"from": "boss:s", "sender": "boss:s"}})

    assert (sent["sender"], sent["body"]["from"]) == (ME, "boss:s")


def test_no_other_parameter_names_a_sender(only: Line, bus: BusClient) -> None:
    errors = [only.error("send", {name: "boss:s", **NOTE}) for name in ("from_", "sender", "as", "role")]
    for name in ("from", "from_", "sender"):
        errors.append(only.error("send_many", {"messages": [{name: "boss:s", **NOTE}]}))

    assert {error["data"]["kind"] for error in errors} == {"invalid_params"}
    assert bus.last_id() == 2


@pytest.mark.parametrize("first", [ME, "boss:s"])
def test_a_sender_that_is_named_twice_is_refused(only: Line, bus: BusClient, first: str) -> None:
    second = "boss:s" if first == ME else ME
    params = f'{{"from":"{first}","to":"boss:s","type":"note","from":"{second}"}}'
    only.write(f'{{"jsonrpc":"2.0","id":1,"method":"send","params":{params}}}')

    assert only.answer()["error"]["data"]["kind"] == "parse_error"
    assert bus.last_id() == 2
