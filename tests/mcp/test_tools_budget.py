"""The table of tools: what each session pays for it, and what its hints promise to a host."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from raven_mcp.tools import table
from raven_mcp.tools.instructions import instructions
from tests.mcp.harness import McpClient, McpError, ToolError

StartMcp = Callable[..., McpClient]
LONGEST_ADDRESS = f"{'r' * 32}:{'s' * 32}"


@pytest.mark.parametrize("modern", [False, True])
def test_the_list_of_tools_takes_at_most_3200_bytes(start_mcp: StartMcp, modern: bool) -> None:
    result = start_mcp("--as", "a:s", modern=modern).request("tools/list")

    assert len(json.dumps(result, separators=(",", ":"), ensure_ascii=False).encode()) <= 3_200
    assert [tool["name"] for tool in result["tools"]] == [
        "send", "inbox", "reply", "done", "peers", "thread", "join",
    ]  # fmt: skip


def test_the_instructions_take_at_most_900_bytes(start_mcp: StartMcp) -> None:
    assert len(instructions(LONGEST_ADDRESS).encode()) <= 900
    begun = start_mcp("--as", "a:s", begin=False, name="claude-code", env={"CLAUDE_CODE_SESSION_ID": "3f2a"}).start()

    assert begun["instructions"] == instructions("a:s")
    assert "You are a:s;" in begun["instructions"]


def test_every_tool_says_that_it_reaches_no_other_system_and_destroys_nothing() -> None:
    for tool in table.listed():
        assert tool["annotations"]["openWorldHint"] is False, tool["name"]
        assert tool["annotations"]["destructiveHint"] is False, tool["name"]


def test_only_tools_that_change_nothing_say_that_they_read_only() -> None:
    hints = {tool["name"]: tool["annotations"] for tool in table.listed()}

    assert {name for name, hint in hints.items() if hint["readOnlyHint"]} == {"peers", "thread"}
    assert {name for name, hint in hints.items() if hint.get("idempotentHint")} == {"inbox", "done", "join"}


def test_the_two_tools_of_every_exchange_are_loaded_from_the_start() -> None:
    loaded = {tool["name"] for tool in table.listed() if tool.get("_meta") == {"anthropic/alwaysLoad": True}}

    assert loaded == {"send", "inbox"}


def test_a_schema_is_one_that_each_host_understands() -> None:
    for tool in table.listed():
        schema = tool["inputSchema"]
        assert schema["type"] == "object"
        assert set(schema.get("required", [])) <= set(schema["properties"])
        for parameter in schema["properties"].values():
            assert {"type", "anyOf"} & parameter.keys() or parameter == {"description": "text or JSON"}


def test_the_tool_for_hooks_is_not_listed_and_an_unknown_one_is_refused(start_mcp: StartMcp) -> None:
    a = start_mcp("--as", "a:s")

    assert a.call("hook", event="Stop", session="x") == {}
    with pytest.raises(McpError, match="there is no tool 'ack'") as refused:
        a.call("ack")
    assert refused.value.code == -32602


@pytest.mark.parametrize("tool", [name for name in table.TOOLS if name != "hook"])
def test_each_argument_is_checked_by_its_kind(start_mcp: StartMcp, tool: str) -> None:
    a = start_mcp("--as", "a:s")
    parameters = table.TOOLS[tool].parameters
    good: dict[str, Any] = {"to": "b:s", "body": 1, "id": 1, "ids": [1], "role": "b"}
    required = {name: good[name] for name, parameter in parameters.items() if parameter.is_required}

    for name, parameter in parameters.items():
        wrong = [{"x": 1}, [[1]], "\ud800" if parameter.kind in (table.NUMBER, table.FLAG) else 1.5, -1, True]
        for value in wrong:
            if parameter.kind == table.ANY or (parameter.kind == table.FLAG and value is True):
                continue
            with pytest.raises(ToolError, match=rf"^(\w+ )*{name} "):
                a.call(tool, **{**required, name: value})
    for name in required:
        with pytest.raises(ToolError, match=f"^{tool} needs {name}: give "):
            a.call(tool, **{other: value for other, value in required.items() if other != name})
    with pytest.raises(ToolError, match=f"^{tool} has no argument 'colour': use "):
        a.call(tool, **required, colour="red")
