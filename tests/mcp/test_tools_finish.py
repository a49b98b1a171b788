"""`reply` and `done`: a message is finished in one transaction with its answer; ids are finished together or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from raven.errors import WaitTimeoutError
from tests.mcp.harness import McpClient, ToolError
from tests.support import wait_until
from tests.thread_call import Asking

StartMcp = Callable[..., McpClient]
Connect = Callable[[str], BusClient]


def test_a_reply_goes_to_the_sender_and_finishes_the_message(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "question", "?", correlation_id="c")

    sent = a.call("reply", id=1, body="yes")

    assert sent == {"id": 2, "to": {"b:s": "away"}}
    [reply] = b.inbox()
    assert (reply.type, reply.body, reply.reply_to, reply.correlation_id) == ("reply", "yes", 1, "c")
    assert a.call("inbox")["messages"] == []
    assert b.receipts(1)[0].state == "acked"


def test_a_reply_may_keep_the_message_open(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "task", "long work")

    a.call("reply", id=1, body="begun", type="progress", keep=True)

    assert b.inbox()[0].type == "progress"
    assert [message["id"] for message in a.call("inbox")["messages"]] == [1]


def test_a_reply_ends_the_request_of_a_script(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    asking = Asking(lambda: b.request("a:s", "question", "?").body)
    [request] = a.call("inbox", wait_s=100)["messages"]

    a.call("reply", id=request["id"], body="answered")

    assert asking.outcome() == "answered"


def test_a_reply_that_comes_too_late_for_a_request_says_so_and_finishes_nothing(
    start_mcp: StartMcp, connect: Connect
) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    with pytest.raises(WaitTimeoutError):
        b.request("a:s", "question", "?", timeout_s=0.1)

    with pytest.raises(ToolError, match="request #1 has expired or was withdrawn: its sender no longer waits"):
        a.call("reply", id=1, body="late")


def test_a_refused_reply_leaves_the_message_unfinished(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "question", "?")

    with pytest.raises(ToolError, match="type ' ' must be a text"):
        a.call("reply", id=1, body="yes", type=" ")
    with pytest.raises(ToolError, match="over the limit of 65,536"):
        a.call("reply", id=1, body="x" * 70_000)

    assert b.receipts(1)[0].state != "acked"
    assert b.inbox() == []


def test_a_reply_to_the_mail_of_another_session_needs_keep(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("c:s", "question", "?")

    with pytest.raises(
        ToolError, match="message #1 is not in your mail: `thread` shows it, and `reply` with keep answers it"
    ):
        a.call("reply", id=1, body="I know it")
    with pytest.raises(ToolError, match="there is no message #7"):
        a.call("reply", id=7, body="?")

    assert a.call("reply", id=1, body="I know it", keep=True)["to"] == {"b:s": "away"}


def test_messages_are_done_once_or_again(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send_many([{"to": "a:s", "type": "note"}] * 3)

    assert a.call("done", ids=[1, 3, 1]) == {"done": [1, 3], "unread": 1}
    assert a.call("done", ids=[1, 3])["done"] == [1, 3]

    assert [message["id"] for message in a.call("inbox")["messages"]] == [2]


def test_an_unknown_or_foreign_id_is_named_and_no_message_is_changed(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "note")
    b.send("c:s", "note")
    a.call("send", to="b:s", body="own")

    with pytest.raises(
        ToolError, match="no message was changed, because of #2, #3, #99: message #2 is not in your mail"
    ):
        a.call("done", ids=[1, 2, 3, 99])
    with pytest.raises(ToolError, match="no message was changed, because of #2: message #2 is not in your mail"):
        a.call("done", ids=[1, 2], give_back=True)

    assert b.receipts(1)[0].state == "sent"


def test_a_message_is_given_back_with_a_reason(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "task", "work")
    a.call("inbox")

    assert a.call("done", ids=[1], give_back=True, reason="no time")["given_back"] == [1]

    assert b.receipts(1)[0].reason == "no time"
    assert [message["id"] for message in a.call("inbox")["messages"]] == [1]


def test_a_finished_message_cannot_be_given_back(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send_many([{"to": "a:s", "type": "note"}] * 2)
    a.call("done", ids=[1])

    with pytest.raises(ToolError, match="because of #1: message #1 is finished already"):
        a.call("done", ids=[2, 1], give_back=True)

    assert b.receipts(2)[0].reason is None


def test_at_a_shared_address_a_message_that_is_given_back_too_often_is_dead(
    start_mcp: StartMcp, connect: Connect
) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    a.call("join", role="a", share=True)
    b.send("a:s", "task", "work", max_attempts=2)
    a.call("inbox")
    assert a.call("done", ids=[1], give_back=True) == {"given_back": [1], "dead": []}
    wait_until(lambda: a.call("inbox")["messages"], "the second attempt")

    assert a.call("done", ids=[1], give_back=True, reason="cannot") == {"given_back": [], "dead": [1]}

    assert [(letter.id, letter.reason) for letter in b.dead()] == [(1, "cannot")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "done needs ids: give a list of whole numbers"),
        ({"ids": []}, r"ids \[\] is not a list of whole numbers, 1 to 100 of them"),
        ({"ids": 1}, "ids 1 is not a list of whole numbers"),
        ({"ids": "1"}, "ids '1' is not a list of whole numbers"),
        ({"ids": ["1"]}, r"ids \['1'\] is not a list of whole numbers"),
        ({"ids": [None]}, r"ids \[None\] is not a list of whole numbers"),
        ({"ids": [True]}, r"ids \[True\] is not a list of whole numbers"),
        ({"ids": [1.5]}, r"ids \[1.5\] is not a list of whole numbers"),
        ({"ids": [-1, 10**40]}, "because of #-1, #1000"),
        ({"ids": list(range(1, 102))}, "is not a list of whole numbers, 1 to 100 of them"),
        ({"ids": [1], "give_back": "yes"}, "give_back 'yes' is not true or false"),
        ({"ids": [1], "reason": "why"}, "reason needs give_back=true"),
        ({"ids": [1], "give_back": True, "reason": " "}, "reason ' ' must be a text"),
    ],
)
def test_a_bad_argument_of_done_is_named(
    start_mcp: StartMcp, connect: Connect, arguments: dict[str, Any], error: str
) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "note")

    with pytest.raises(ToolError, match=error):
        a.call("done", **arguments)

    assert b.receipts(1)[0].state == "sent"
