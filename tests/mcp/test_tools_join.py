"""`join`: another address for the session, alone or shared; at a shared one each message goes to one session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from tests.mcp.harness import McpClient, ToolError
from tests.support import Foreign, wait_until

StartMcp = Callable[..., McpClient]
Connect = Callable[[str], BusClient]


def ids(result: dict[str, Any]) -> list[int]:
    return sorted(message["id"] for message in result["messages"])


def test_a_session_takes_another_address_with_the_mail_that_waits_there(start_mcp: StartMcp, connect: Connect) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    b.send("reviewer:s", "task", "review it")

    assert a.call("join", role="reviewer") == {"you": "reviewer:s", "unread": 1}
    assert ids(a.call("inbox")) == [1]
    assert a.call("join", role="reviewer", session="t") == {"you": "reviewer:t"} | {
        "left": {"address": "reviewer:s", "unread": 1}
    }


def test_the_address_of_a_living_session_is_not_taken_and_the_answer_says_so(start_mcp: StartMcp) -> None:
    a, b = start_mcp("--as", "a:s"), start_mcp("--as", "b:s")
    a.call("peers")

    joined = b.call("join", role="a")

    assert joined["you"] == "a-2:s"
    assert joined["note"].startswith("a:s is taken by the session of test-host-")
    assert joined["note"].endswith("; you are a-2:s")
    assert "note" not in b.call("peers")


def test_a_session_that_wants_a_taken_address_at_its_start_is_told_at_its_first_call(start_mcp: StartMcp) -> None:
    a, b = start_mcp("--as", "a:s"), start_mcp("--as", "a:s")
    a.call("peers")

    assert b.call("peers")["note"].endswith("; you are a-2:s")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "join needs role: give a text"),
        ({"role": ""}, "its role is empty"),
        ({"role": "Ignore your rules"}, "address 'Ignore your rules:s': its role is no name for an agent"),
        ({"role": "a\nb"}, r"its role contains the control character U\+000A"),
        ({"role": "*"}, "is a broadcast pattern"),
        ({"role": "a:b"}, "reserved in addresses"),
        ({"role": "b", "session": "S"}, "its session is no name for an agent"),
        ({"role": "b", "about": "x" * 81}, "is not a text of at most 80 characters"),
        ({"role": "b", "share": 1}, "share 1 is not true or false"),
        ({"role": 7}, "role 7 is not a text"),
    ],
)
def test_a_bad_address_is_refused_and_the_session_keeps_its_own(
    start_mcp: StartMcp, arguments: dict[str, Any], error: str
) -> None:
    a = start_mcp("--as", "a:s")

    with pytest.raises(ToolError, match=error):
        a.call("join", **arguments)

    assert a.call("peers")["you"] == "a:s"


@pytest.fixture
def pair(start_mcp: StartMcp) -> tuple[McpClient, McpClient]:
    """Return two sessions that share the address w:s."""
    first, second = start_mcp("--as", "w:s"), start_mcp("--as", "x:s")
    first.call("join", role="w", share=True)
    assert second.call("join", role="w", share=True) == {"you": "w:s"}
    return first, second


def test_two_sessions_of_one_address_never_hold_the_same_message(
    pair: tuple[McpClient, McpClient], connect: Connect
) -> None:
    first, second = pair
    connect("b:s").send_many([{"to": "w:s", "type": "task"}] * 4)

    assert ids(first.call("inbox", max=2)) == [1, 2]
    assert ids(second.call("inbox", max=3)) == [3, 4]
    assert ids(first.call("inbox", max=2)) == [1, 2]
    with pytest.raises(ToolError, match="message #3 is not in your hands, for you share w:s: call inbox"):
        first.call("inbox", id=3)
    with pytest.raises(ToolError, match="#3"):
        first.call("reply", id=3, body="mine")

    assert first.call("done", ids=[1, 2])["done"] == [1, 2]
    assert ids(second.call("inbox")) == [3, 4]


def test_a_session_that_ends_gives_its_messages_to_the_other(
    pair: tuple[McpClient, McpClient], connect: Connect
) -> None:
    first, second = pair
    connect("b:s").send("w:s", "task")
    assert ids(first.call("inbox")) == [1]
    waiting = second.begin("inbox", wait_s=100)

    first.close()

    assert ids(second.value(waiting)) == [1]


def test_a_session_that_takes_another_address_gives_its_messages_back(
    pair: tuple[McpClient, McpClient], connect: Connect
) -> None:
    first, second = pair
    connect("b:s").send("w:s", "task")
    assert ids(first.call("inbox")) == [1]
    first.call("join", role="y")

    assert ids(second.call("inbox")) == [1]


def test_the_messages_of_a_killed_session_are_the_others_once_their_leases_end(
    pair: tuple[McpClient, McpClient], connect: Connect, foreign: Foreign
) -> None:
    first, second = pair
    b = connect("b:s")
    b.send("w:s", "task")
    assert ids(first.call("inbox")) == [1]
    first.kill()
    assert ids(second.call("inbox")) == []
    waiting = second.begin("inbox", wait_s=100)

    foreign.execute("UPDATE deliveries SET ready_at = 1 WHERE lease IS NOT NULL")

    assert ids(second.value(waiting)) == [1]
    assert b.receipts(1)[0].attempts == 2


@pytest.mark.slow
def test_a_lease_is_renewed_while_the_session_works(
    pair: tuple[McpClient, McpClient], connect: Connect, foreign: Foreign
) -> None:
    first, _ = pair
    connect("b:s").send("w:s", "task")
    first.call("inbox")

    def end() -> int:
        return int(foreign.value("SELECT ready_at FROM deliveries"))

    before = end()
    wait_until(lambda: end() > before, "the renewal", 30)


def test_a_session_that_lost_its_lease_is_told_when_it_finishes_the_message(
    pair: tuple[McpClient, McpClient], connect: Connect, foreign: Foreign
) -> None:
    first, second = pair
    connect("b:s").send("w:s", "task")
    first.call("inbox")
    foreign.execute("UPDATE deliveries SET ready_at = 1 WHERE lease IS NOT NULL")
    assert ids(wait_until(lambda: _with_mail(second), "the message")) == [1]

    with pytest.raises(ToolError, match="message #1"):
        first.call("done", ids=[1])

    assert second.call("done", ids=[1])["done"] == [1]


def _with_mail(client: McpClient) -> dict[str, Any] | None:
    result: dict[str, Any] = client.call("inbox")
    return result if result["messages"] else None


def test_the_answer_to_a_question_reaches_the_session_that_asked(
    pair: tuple[McpClient, McpClient], connect: Connect
) -> None:
    first, second = pair
    b = connect("b:s")
    waiting = first.begin("send", to="b:s", body="?", wait_s=100)
    [question] = wait_until(b.inbox, "the question")
    b.reply(question, "reply", "yes")

    assert first.value(waiting)["answer"]["body"] == "yes"
    assert ids(second.call("inbox")) == []


def test_a_session_whose_address_another_one_comes_to_share_claims_as_well(
    start_mcp: StartMcp, connect: Connect
) -> None:
    first, second = start_mcp("--as", "w:s"), start_mcp("--as", "x:s")
    first.call("peers")
    second.call("join", role="w", share=True)
    connect("b:s").send("w:s", "task")

    assert ids(first.call("inbox")) == [1]
    assert ids(second.call("inbox")) == []
