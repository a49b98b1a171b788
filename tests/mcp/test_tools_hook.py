"""The hidden tool `hook`: the news of the session in the form of its host, and never an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from tests.mcp.harness import McpClient

StartMcp = Callable[..., McpClient]
Connect = Callable[[str], BusClient]
SESSION = "3f2a0000-0000-4000-8000-000000000001"


@pytest.fixture
def claude(start_mcp: StartMcp) -> McpClient:
    """Return the server of a session of Claude Code."""
    return start_mcp("--as", "a:s", "--no-push", name="claude-code", env={"CLAUDE_CODE_SESSION_ID": SESSION})


def test_a_hook_without_news_says_nothing(claude: McpClient) -> None:
    for event in ("SessionStart", "UserPromptSubmit", "PostToolBatch", "PostToolUse", "Stop", "SessionEnd"):
        assert claude.call("hook", event=event, session=SESSION, agent="") == {}


def test_a_hook_tells_of_a_message_once(claude: McpClient, connect: Connect) -> None:
    connect("b:s").send("a:s", "question", "the body is not in the notice")

    told = claude.call("hook", event="PostToolBatch", session=SESSION, agent="")

    context = told["hookSpecificOutput"]["additionalContext"]
    assert told["hookSpecificOutput"]["hookEventName"] == "PostToolBatch"
    assert "#1 from b:s (question)" in context
    assert "body" not in context
    assert claude.call("hook", event="PostToolBatch", session=SESSION, agent="") == {}
    assert "unread" not in claude.call("peers")


def test_a_message_that_was_shown_is_not_told_of(claude: McpClient, connect: Connect) -> None:
    connect("b:s").send("a:s", "question", "?")
    claude.call("inbox")

    assert claude.call("hook", event="PostToolBatch", session=SESSION, agent="") == {}


def test_an_agent_within_the_session_is_not_told(claude: McpClient, connect: Connect) -> None:
    connect("b:s").send("a:s", "question", "?")

    assert claude.call("hook", event="PostToolBatch", session=SESSION, agent="sub-1") == {}
    assert claude.call("hook", event="PostToolBatch", session=SESSION, agent="") != {}


@pytest.mark.parametrize("active", [True, "true"])
def test_a_stop_that_goes_on_already_tells_of_no_ordinary_mail(
    claude: McpClient, connect: Connect, active: Any
) -> None:
    connect("b:s").send("a:s", "question", "?")

    assert claude.call("hook", event="Stop", session=SESSION, active=active) == {}
    assert "#1" in str(claude.call("hook", event="Stop", session=SESSION, active="false"))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"event": None},
        {"event": 7},
        {"event": "Unheard"},
        {"event": "Stop", "session": 7},
        {"event": "Stop", "session": "../../etc"},
        {"event": "Stop", "session": "x" * 10_000},
        {"event": "Stop", "agent": {}, "active": []},
        {"event": "Stop", "more": "arguments"},
    ],
)
def test_a_hook_with_odd_arguments_says_nothing_and_is_no_error(claude: McpClient, arguments: dict[str, Any]) -> None:
    assert claude.call("hook", **arguments) == {}


def test_a_hook_without_a_bus_says_nothing_and_is_no_error(start_mcp: StartMcp, tmp_path: Any) -> None:
    (tmp_path / "no.db").write_text("no bus " * 1_000)
    server = start_mcp(bus=str(tmp_path / "no.db"), name="claude-code")

    assert server.call("hook", event="Stop", session=SESSION) == {}


def test_a_host_that_cannot_show_a_notice_loses_none(start_mcp: StartMcp, connect: Connect) -> None:
    a = start_mcp("--as", "a:s", name="another")
    connect("b:s").send("a:s", "question", "?")

    assert a.call("hook", event="Stop", session="x") == {}
    assert a.call("peers")["unread"] == 1


def test_after_a_clear_the_unfinished_mail_is_new_to_a_wait(claude: McpClient, connect: Connect) -> None:
    connect("b:s").send("a:s", "task", "work")
    assert claude.call("inbox", wait_s=100)["messages"] != []
    assert claude.call("inbox", wait_s=0.01)["messages"] == []

    claude.call("hook", event="UserPromptSubmit", session=SESSION.replace("1", "2"), agent="")

    assert [message["id"] for message in claude.call("inbox", wait_s=100)["messages"]] == [1]
