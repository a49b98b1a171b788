"""`inbox`: unfinished mail until it is finished, a wait for new mail, and long bodies part by part."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from scripts.harness.deadline import Limit
from tests.mcp.harness import McpClient, ToolError
from tests.support import wait_for_waiting, wait_until

StartMcp = Callable[..., McpClient]
Connect = Callable[[str], BusClient]


def bodies(result: dict[str, Any]) -> list[str]:
    return [message["body"] for message in result["messages"]]


def test_a_message_stays_until_it_is_finished(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "note", "one")
    b.send("a:s", "note", "two", urgency="blocking")

    assert bodies(a.call("inbox")) == ["two", "one"]
    a.call("done", ids=[2])

    assert bodies(a.call("inbox")) == ["one"]


def test_a_shown_message_is_delivered_and_no_other(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    for number in range(3):
        b.send("a:s", "note", number)

    assert bodies(a.call("inbox", max=2)) == ["0", "1"]
    a.call("peers")

    assert [b.receipts(id)[0].state for id in (1, 2, 3)] == ["delivered", "delivered", "sent"]


def test_what_does_not_fit_is_counted_and_comes_later(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    for number in range(14):
        b.send("a:s", "note", number)

    first = a.call("inbox")

    assert (len(first["messages"]), first["more"]) == (10, 4)
    a.call("done", ids=[message["id"] for message in first["messages"]])
    assert (bodies(a.call("inbox")), a.call("inbox")["more"]) == (["10", "11", "12", "13"], 0)


def test_waiting_mail_that_was_not_announced_is_counted_in_each_result(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    assert "unread" not in a.call("peers")
    b.send("a:s", "note", 1)
    b.send("a:s", "note", 2)

    assert a.call("peers")["unread"] == 2
    assert a.call("send", to="c:s", body=1)["unread"] == 2
    assert a.call("inbox", max=1)["unread"] == 1
    assert "unread" not in a.call("inbox")


def test_a_wait_ends_with_the_first_message(start_mcp: StartMcp, connect: Connect, db: str) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    waiting = a.begin("inbox", wait_s=100)
    wait_for_waiting(db, "a:s")
    assert not a.has_response(waiting)

    b.send("a:s", "note", "now")

    assert bodies(a.value(waiting)) == ["now"]
    wait_until(lambda: b.receipts(1)[0].state == "delivered", "the mark")


def test_a_wait_without_mail_ends_in_time_with_an_empty_list(start_mcp: StartMcp) -> None:
    a = start_mcp("--as", "a:s")
    began = time.monotonic()

    assert a.call("inbox", wait_s=0.3) == {"messages": [], "more": 0}
    assert 0.3 <= time.monotonic() - began < Limit(1)


def test_a_wait_is_for_new_mail_though_older_is_unfinished(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "note", "old")
    assert bodies(a.call("inbox", wait_s=100)) == ["old"]

    assert a.call("inbox", wait_s=0.1) == {"messages": [], "more": 1}
    waiting = a.begin("inbox", wait_s=100)
    b.send("a:s", "note", "new")

    result = a.value(waiting)
    assert (bodies(result), result["more"]) == (["new"], 1)


def test_a_wait_hears_of_a_delayed_message_and_of_a_writer_that_is_not_raven(
    start_mcp: StartMcp, connect: Connect, foreign: Any
) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "note", "delayed", delay_s=0.2)
    assert bodies(a.call("inbox", wait_s=100)) == ["delayed"]

    waiting = a.begin("inbox", wait_s=100)
    foreign.send("a:s", "by SQL")

    assert bodies(a.value(waiting)) == ["by SQL"]


def test_a_cancelled_wait_takes_nothing(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    waiting = a.begin("inbox", wait_s=100)
    a.notify("notifications/cancelled", {"requestId": waiting})
    a.request("ping")
    b.send("a:s", "note", "kept")

    assert bodies(a.call("inbox", wait_s=100)) == ["kept"]
    assert not a.has_response(waiting)


def test_claude_code_may_wait_for_longer_than_the_others(start_mcp: StartMcp) -> None:
    claude, other = start_mcp("--as", "a:s", name="claude-code"), start_mcp("--as", "b:s", name="codex-mcp-client")
    waiting = claude.begin("inbox", wait_s=1800)

    with pytest.raises(
        ToolError, match="wait_s 1800 is over 110, the longest wait of this program: then call inbox again"
    ):
        other.call("inbox", wait_s=1800)

    claude.request("ping")
    assert not claude.has_response(waiting)


def test_a_session_that_waits_shows_as_listening(start_mcp: StartMcp) -> None:
    a, b = start_mcp("--as", "a:s"), start_mcp("--as", "b:s")
    a.begin("inbox", wait_s=100)
    b.call("inbox")

    wait_until(lambda: b.call("peers")["peers"][0]["state"] == "listening", "the state of a:s")


def test_an_address_that_only_waits_is_not_forgotten(start_mcp: StartMcp, connect: Any, db: str) -> None:
    b = connect("b:s", identity_ttl_s=1)
    a = start_mcp("--as", "a:s")
    a.begin("inbox", wait_s=100)
    wait_for_waiting(db, "a:s")
    for _ in range(3):
        time.sleep(0.5)  # by the clock of the address's life
        b.send("b:s", "note")

    assert b.send("*:s", "note").waiting == {"a:s": True}


def test_a_long_body_is_read_part_by_part(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    text = "".join(f"line {number}\n" for number in range(5_000))
    b.send("a:s", "log", text)

    [message] = a.call("inbox")["messages"]
    read = message["body"]
    assert len(json.dumps(read)) <= 4_002
    assert (message["cut"], message["of"]) == (len(read), len(text))
    while "cut" in message:
        [message] = a.call("inbox", id=1, offset=message["cut"])["messages"]
        assert message["offset"] == len(read)
        assert len(json.dumps(message)) <= 12_000
        read += message["body"]

    assert read == text


def test_a_body_of_a_mebibyte_is_shown_cut(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "blob", {"data": "x" * 2**20})

    [message] = a.call("inbox")["messages"]

    assert message["body"].startswith('{"data":"xxx')
    assert message["of"] == 2**20 + 11
    [end] = a.call("inbox", id=1, offset=2**20 + 9)["messages"]
    assert end["body"] == '"}'


def test_a_result_has_room_for_the_beginning_of_each_message(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    for _ in range(10):
        b.send("a:s", "log", "x" * 50_000)

    result = a.response(a.begin("inbox"))
    text = result["content"][0]["text"]
    messages = json.loads(text)["messages"]

    assert len(text) <= 12_000
    assert [len(message["body"]) for message in messages[:2]] == [4_000, 4_000]
    assert len(messages) == 10
    assert all(len(message["body"]) >= 300 for message in messages)


def test_many_messages_fill_one_result_and_the_rest_is_not_marked(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send_many([{"to": "a:s", "type": "log", "body": "x" * 1_000}] * 100)

    text = a.response(a.begin("inbox", max=100))["content"][0]["text"]
    result = json.loads(text)
    a.call("peers")

    assert len(text) <= 12_000
    assert len(result["messages"]) + result["more"] == 100
    states = [b.receipts(id)[0].state for id in range(1, 101)]
    assert states == ["delivered"] * len(result["messages"]) + ["sent"] * result["more"]


def test_a_message_is_read_by_its_id_and_then_delivered(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "note", "one")
    b.send("a:s", "note", "two")

    assert bodies(a.call("inbox", id=2)) == ["two"]
    a.call("done", ids=[2])

    [message] = a.call("inbox", id=2)["messages"]
    assert (message["body"], message["state"]) == ("two", "acked")
    assert b.receipts(1)[0].state == "sent"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"id": 9}, "there is no message #9"),
        ({"id": 2}, "message #2 is not in your mail: `thread` shows it, and `reply` with keep answers it"),
        ({"id": 1, "offset": 3}, "offset 3 is beyond the body of message #1, which has 3 characters"),
        ({"id": 1, "max": 3}, "max does not go with id"),
        ({"id": 1, "wait_s": 3}, "wait_s does not go with id"),
        ({"offset": 3}, "offset 3 needs id"),
        ({"id": "1"}, "id '1' is not a whole number, 1 or more"),
        ({"id": True}, "id True is not a whole number"),
        ({"id": 1.5}, "id 1.5 is not a whole number"),
        ({"id": [1]}, r"id \[1\] is not a whole number"),
        ({"id": {}}, "id {} is not a whole number"),
        ({"id": 0}, "id 0 is not a whole number, 1 or more"),
        ({"id": 10**30}, "there is no message #1000"),
        ({"max": 0}, "max 0 is not a whole number from 1 to 100"),
        ({"max": 101}, "max 101 is not a whole number from 1 to 100"),
        ({"wait_s": "long"}, "wait_s 'long' is not a number, 0 or more"),
        ({"peek": True}, "inbox has no argument 'peek': use max, wait_s, id, offset"),
    ],
)
def test_a_bad_argument_of_inbox_is_named(
    start_mcp: StartMcp, connect: Connect, arguments: dict[str, Any], error: str
) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "note", "one")
    b.send("c:s", "note", "for another")

    with pytest.raises(ToolError, match=error):
        a.call("inbox", **arguments)


def test_a_whole_number_may_be_written_as_a_float_and_null_is_no_argument(
    start_mcp: StartMcp, connect: Connect
) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "note", "one")

    assert bodies(a.call("inbox", id=1.0, offset=None, wait_s=None)) == ["one"]
