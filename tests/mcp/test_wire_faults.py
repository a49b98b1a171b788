"""Faults: of the bus when a session begins, and of raven itself. The server lives, and tells stderr in one line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.harness.deadline import Limit
from tests.mcp.harness import McpClient, McpError, ToolError
from tests.support import PROGRAMS, Program, wait_until

StartMcp = Callable[..., McpClient]
NAMED = {"CLAUDE_CODE_SESSION_ID": "3f2a-session"}


def faulty(start_mcp: StartMcp, db: str) -> McpClient:
    return start_mcp(command=(sys.executable, str(PROGRAMS / "mcp_server.py"), f'{{"db":"{db}"}}', "faulty"), bus=None)


def test_a_fault_in_a_tool_is_a_tool_error_and_the_server_lives(start_mcp: StartMcp, db: str) -> None:
    client = faulty(start_mcp, db)

    for _ in range(3):
        with pytest.raises(ToolError, match="raven has a fault in inbox, and told its stderr: report it"):
            client.call("inbox")

    assert client.request("ping") == {}
    assert "raven mcp: inbox: ZeroDivisionError: a fault of two lines\n" in client.errors()
    assert client.errors().count("inbox") == 1


def test_a_fault_in_a_call_that_waits_is_a_tool_error_too(start_mcp: StartMcp, db: str) -> None:
    with pytest.raises(ToolError, match="raven has a fault in inbox, and told its stderr: report it"):
        faulty(start_mcp, db).call("inbox", fails="poll")


@pytest.mark.parametrize("is_told", [False, True])
def test_a_fault_in_a_cancellation_is_told_to_stderr_alone(start_mcp: StartMcp, db: str, is_told: bool) -> None:
    client = faulty(start_mcp, db)
    id = client.begin("inbox", fails="cancel")
    if is_told:
        client.notify("notifications/cancelled", {"requestId": id})
        assert client.request("ping") == {}

    assert client.finish() == 0
    assert "raven mcp: a cancelled call: ZeroDivisionError" in client.errors()
    assert client.unclaimed() == []


def test_a_fault_in_a_timer_is_told_and_the_server_lives(start_mcp: StartMcp, db: str) -> None:
    client = faulty(start_mcp, db)
    wait_until(lambda: "raven mcp: a callback: ZeroDivisionError" in client.errors(), "the timer")

    assert client.request("ping") == {}


def test_a_fault_in_a_request_is_an_internal_error_and_the_server_lives(start_mcp: StartMcp, db: str) -> None:
    client = faulty(start_mcp, db)

    with pytest.raises(McpError, match="-32603: raven has a fault here, and told its stderr: report it"):
        client.request("tools/list")

    assert client.request("ping") == {}


def test_a_fault_in_each_tick_is_told_once_and_one_at_the_end_keeps_the_exit_code(start_mcp: StartMcp, db: str) -> None:
    client = faulty(start_mcp, db)
    wait_until(lambda: "a tick" in client.errors(), "the first tick")

    assert client.finish() == 0
    assert client.errors().endswith("raven mcp: the end of the session: ZeroDivisionError: a fault of two lines\n")


def test_a_session_whose_bus_cannot_be_opened_begins_and_hears_why_from_each_tool(
    start_mcp: StartMcp, tmp_path: Path
) -> None:
    folder = tmp_path / "a-folder"
    folder.mkdir()

    client = start_mcp(bus=str(folder), name="claude-code", env=NAMED, begin=False)

    assert client.start(modern=True)["instructions"].startswith("raven carries messages")
    with pytest.raises(ToolError, match="a-folder"):
        client.call("inbox")
    assert client.request("tools/list")["tools"]
    assert len(client.errors().splitlines()) == 1
    assert client.errors().startswith("raven mcp: the start of the session: ")


def test_a_session_whose_bus_is_locked_begins_all_the_same_and_has_its_address_afterwards(
    start_mcp: StartMcp, db: str
) -> None:
    start_mcp("--as", "other:s").call("inbox")
    holder = Program("lock_holder", db)
    holder.read()
    began = time.monotonic()

    client = start_mcp(name="claude-code", env=NAMED)

    assert time.monotonic() - began < Limit(10)
    holder.close()
    assert client.call("peers")["you"].startswith("claude-")
