"""`peers` and `thread`: who is there, and who has read what; neither changes anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from tests.mcp.harness import McpClient, ToolError

StartMcp = Callable[..., McpClient]
Connect = Callable[[str], BusClient]


def test_peers_shows_agents_and_scripts_with_their_state_and_mail(
    start_mcp: StartMcp, connect: Connect, tmp_path: Path
) -> None:
    a = start_mcp("--as", "a:s")
    b = start_mcp("--as", "b:s", name="claude-code")
    b.call("join", role="b", about="the tests")
    connect("script:s").send("c:other", "note")
    a.call("send", to="b:s", body=1)

    listed = a.call("peers")

    assert listed["you"] == "a:s"
    agent, script, other = listed["peers"]
    assert agent == {
        "address": "b:s",
        "state": "listening",
        "unread": 1,
        "agent": "claude-code",
        "about": "the tests",
        "cwd": str(tmp_path),
    }
    assert script == {"address": "script:s", "state": "away", "unread": 0}
    assert other == {"address": "c:other", "state": "away", "unread": 1}
    assert [peer["address"] for peer in a.call("peers", session="other")["peers"]] == ["c:other"]


def test_a_peer_whose_process_is_gone_is_away(start_mcp: StartMcp) -> None:
    a, b = start_mcp("--as", "a:s"), start_mcp("--as", "b:s")
    b.call("inbox")
    b.kill()

    assert a.call("peers")["peers"][0]["state"] == "away"


def test_many_peers_fit_one_result_and_the_others_are_counted(start_mcp: StartMcp, connect: Connect) -> None:
    a = start_mcp("--as", "a:s")
    connect("r:s").register(*(f"r{number}:{'x' * 400}" for number in range(100)))

    text = a.response(a.begin("peers"))["content"][0]["text"]
    result = json.loads(text)

    assert len(text) <= 12_000
    assert len(result["peers"]) + result["more"] == 101


def test_a_thread_shows_each_message_with_the_state_of_its_deliveries(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    a.call("send", to=["b:s", "c:s"], body="who?")
    b.inbox()
    b.reply(1, "reply", "I")

    messages = a.call("thread", id=2)["messages"]

    assert [(message["id"], message["from"], message["body"]) for message in messages] == [
        (1, "a:s", "who?"),
        (2, "b:s", "I"),
    ]
    assert messages[0]["state"] == {"b:s": "delivered", "c:s": "sent"}
    assert messages[1]["state"] == {"a:s": "sent"}
    assert messages[1]["reply_to"] == 1
    assert b.receipts(2)[0].state == "sent"


def test_the_newest_messages_of_a_long_thread_are_shown(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("a:s", "note", "x" * 9_000)
    for _ in range(30):
        b.send("a:s", "note", "x" * 9_000, reply_to=b.last_id())

    text = a.response(a.begin("thread", id=1, max=20))["content"][0]["text"]
    result = json.loads(text)

    assert len(text) <= 12_000
    ids = [message["id"] for message in result["messages"]]
    assert ids == list(range(12, 32))[-len(ids) :]
    assert result["earlier"] == 31 - len(ids)
    assert len(a.call("thread", id=1)["messages"]) == 10


@pytest.mark.parametrize(
    ("tool", "arguments", "error"),
    [
        ("thread", {}, "thread needs id: give a whole number"),
        ("thread", {"id": 7}, "there is no message #7"),
        ("thread", {"id": 1, "max": 0}, "max 0 is not a whole number from 1 to 100"),
        ("peers", {"session": 7}, "session 7 is not a text"),
        ("peers", {"all": True}, "peers has no argument 'all': use session"),
    ],
)
def test_a_bad_argument_of_peers_and_thread_is_named(
    start_mcp: StartMcp, tool: str, arguments: dict[str, Any], error: str
) -> None:
    with pytest.raises(ToolError, match=error):
        start_mcp("--as", "a:s").call(tool, **arguments)


def test_a_peer_with_long_texts_does_not_hide_the_others(start_mcp: StartMcp, tmp_path: Path, db: str) -> None:
    deep = tmp_path / "/".join(["\u202e" * 60] * 20)
    deep.mkdir(parents=True)
    a = start_mcp("--as", "z:s")
    start_mcp("--as", "a:s", folder=deep, home=tmp_path).call("inbox")
    start_mcp("--as", "b:s").call("inbox")

    listed = a.call("peers")

    assert [peer["address"] for peer in listed["peers"]] == ["a:s", "b:s"]
    assert len(listed["peers"][0]["cwd"]) == 203
