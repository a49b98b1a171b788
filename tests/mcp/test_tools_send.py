"""`send`: a message with the state of each recipient, and the wait for its answer."""

from __future__ import annotations

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


def test_a_message_arrives_and_its_sender_hears_that_the_recipient_listens(start_mcp: StartMcp) -> None:
    a, b = start_mcp("--as", "a:s"), start_mcp("--as", "b:s")
    b.call("inbox")

    sent = a.call("send", to="b:s", body="ready", type="news", urgency="blocking")

    assert sent == {"id": 1, "to": {"b:s": "listening"}}
    [message] = b.call("inbox")["messages"]
    assert message.pop("at").endswith("Z")
    assert message == {"id": 1, "from": "a:s", "type": "news", "body": "ready", "urgency": "blocking"}


def test_the_sender_hears_who_is_away_and_who_was_never_here(start_mcp: StartMcp, connect: Connect) -> None:
    a = start_mcp("--as", "a:s")
    connect("script:s")
    gone = start_mcp("--as", "gone:s")
    gone.call("inbox")
    gone.kill()

    sent = a.call("send", to=["script:s", "gone:s", "typo:s"], body=1)

    assert sent["to"] == {"script:s": "away", "gone:s": "away", "typo:s": "unknown"}


def test_a_script_that_waits_for_mail_counts_as_listening(start_mcp: StartMcp, spawn: Any, db: str) -> None:
    a = start_mcp("--as", "a:s")
    a.call("inbox")
    spawn("subscriber", db, "script:s")
    wait_for_waiting(db, "script:s")

    assert a.call("send", to="script:s", body=1)["to"] == {"script:s": "listening"}


def test_a_broadcast_names_some_recipients_and_counts_the_others(start_mcp: StartMcp, connect: Connect) -> None:
    a = start_mcp("--as", "a:s")
    connect("r0:s").register(*(f"r{number}:s" for number in range(30)))

    sent = a.call("send", to="*:s", body="all")

    assert len(sent["to"]) == 20
    assert sent["others"] == 10


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("text", "text"),
        ("", ""),
        (None, "null"),
        (7, "7"),
        (False, "false"),
        ([1, "x"], '[1,"x"]'),
        ({"step": 1, "é": None}, '{"step":1,"é":null}'),
    ],
)
def test_a_body_is_any_json_and_is_shown_as_text(start_mcp: StartMcp, connect: Connect, body: Any, shown: str) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    a.call("send", to=["b:s", "a:s"], body=body)

    assert [message.body for message in b.inbox()] == [body]
    assert a.call("inbox")["messages"][0]["body"] == shown


def test_a_key_sends_one_message_and_the_second_call_says_so(start_mcp: StartMcp) -> None:
    a = start_mcp("--as", "a:s")

    first = a.call("send", to="b:s", body=1, dedup_key="k")
    second = a.call("send", to="b:s", body=2, dedup_key="k")

    assert "duplicate" not in first
    assert (second["id"], second["duplicate"]) == (first["id"], True)


def test_a_message_expires(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    a.call("send", to="b:s", body=1, expires_in_s=0.05)

    wait_until(lambda: not b.inbox(peek=True), "the expiry")


def test_a_send_with_wait_s_returns_the_answer_and_finishes_it(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    waiting = a.begin("send", to="b:s", body="which column?", wait_s=100)
    [question] = wait_until(b.inbox, "the question")

    reply = b.reply(question, "reply", {"column": "tenant_id"})

    answer = a.value(waiting)["answer"]
    assert (answer["id"], answer["from"], answer["body"]) == (reply.id, "b:s", '{"column":"tenant_id"}')
    assert answer["reply_to"] == question.id
    assert a.call("inbox") == {"messages": [], "more": 0}
    assert [receipt.state for receipt in b.receipts(reply.id)] == ["acked"]


def test_other_mail_does_not_end_the_wait_for_an_answer(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    waiting = a.begin("send", to="b:s", body="?", wait_s=100)
    [question] = wait_until(b.inbox, "the question")
    b.send("a:s", "other", "not an answer")
    b.send("a:s", "other", "another question", reply_to=None)

    assert a.call("peers")["unread"] == 2
    assert not a.has_response(waiting)
    b.reply(question, "reply", "yes")

    result = a.value(waiting)
    assert (result["answer"]["body"], result["unread"]) == ("yes", 2)


def test_without_an_answer_in_time_it_is_null_and_a_late_one_is_ordinary_mail(
    start_mcp: StartMcp, connect: Connect
) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    began = time.monotonic()

    sent = a.call("send", to="b:s", body="?", wait_s=0.3)

    assert sent == {"id": 1, "to": {"b:s": "away"}, "answer": None}
    assert 0.3 <= time.monotonic() - began < Limit(1)
    b.reply(1, "reply", "late")
    assert [message["body"] for message in a.call("inbox")["messages"]] == ["late"]


def test_the_answer_to_a_cancelled_wait_is_ordinary_mail(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    waiting = a.begin("send", to="b:s", body="?", wait_s=100)
    [question] = wait_until(b.inbox, "the question")
    a.notify("notifications/cancelled", {"requestId": waiting})
    a.request("ping")
    b.reply(question, "reply", "for later")

    assert [message["body"] for message in a.call("inbox")["messages"]] == ["for later"]
    assert not a.has_response(waiting)


def test_a_repeated_question_gets_the_answer_that_came_before(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    a.call("send", to="b:s", body="?", dedup_key="k")
    b.reply(1, "reply", "answered")
    assert a.call("send", to="b:s", body="?", dedup_key="k", wait_s=100)["answer"]["body"] == "answered"

    assert a.call("send", to="b:s", body="?", dedup_key="k", wait_s=100)["answer"]["body"] == "answered"


def test_two_sessions_can_ask_each_other_at_once(start_mcp: StartMcp) -> None:
    a, b = start_mcp("--as", "a:s"), start_mcp("--as", "b:s")
    b.call("inbox")
    first = a.begin("send", to="b:s", body="a asks", wait_s=100)
    [question] = b.call("inbox", wait_s=100)["messages"]
    second = b.begin("send", to="a:s", body="b asks first", wait_s=100)
    [back] = a.call("inbox", wait_s=100)["messages"]

    a.call("reply", id=back["id"], body="to b")
    b.value(second)
    b.call("reply", id=question["id"], body="to a")

    assert a.value(first)["answer"]["body"] == "to a"


def test_a_long_body_is_refused_and_nothing_is_sent(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")

    with pytest.raises(
        ToolError, match=r"body has 65,537 bytes as JSON, over the limit of 65,536: write a file and send its path"
    ):
        a.call("send", to="b:s", body="x" * 65_535)

    assert b.inbox() == []
    a.call("send", to="b:s", body="x" * 65_534)
    assert len(b.inbox()[0].body) == 65_534


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"to": "b"}, r"address 'b' has no ':'; write it as <role>:<session>"),
        ({"to": []}, r"to is an empty list"),
        ({"to": "*:nowhere"}, r"no registered address matches '\*:nowhere'"),
        ({"to": "b:s", "type": ""}, r"type '' must be a text of 1 to 1024 characters"),
        ({"to": "b:s", "type": "raven.x"}, r"type 'raven.x' begins with 'raven.'"),
        ({"to": "b:s", "urgency": "now"}, r"urgency 'now' is not known: use blocking, prompt, fyi"),
        ({"to": "b:s", "wait_s": 111}, r"wait_s 111 is not a number from 0 to 110"),
        ({"to": "b:s", "wait_s": -1}, r"wait_s -1 is not a number from 0 to 110"),
        ({"to": "b:s", "expires_in_s": 0}, r"expires_in_s 0 is not a number of seconds above 0"),
        ({"to": "b:s", "dedup_key": " "}, r"dedup_key ' ' must be a text"),
        ({"to": "b:s", "body": "\ud800"}, r"body contains the lone surrogate '\\ud800'"),
        ({"to": "b:s", "type": "\ud800"}, r"type '\\ud800' contains a lone surrogate"),
        ({"to": "\ud800:s"}, r"its role contains the control character U\+D800"),
    ],
)
def test_a_bad_argument_is_named_and_nothing_is_sent(
    start_mcp: StartMcp, connect: Connect, arguments: dict[str, Any], error: str
) -> None:
    a = start_mcp("--as", "a:s")

    with pytest.raises(ToolError, match=error) as raised:
        a.call("send", **{"body": 1, **arguments})

    assert "\n" not in str(raised.value)
    assert connect("b:s").last_id() == 0
