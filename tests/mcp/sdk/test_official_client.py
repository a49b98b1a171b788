"""The official client talks to the server, in both modes: it discovers, shakes hands, lists, calls and cancels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import mcp
import pytest

from raven import __version__
from tests.mcp.harness import LEGACY, MODERN, RAVEN_MCP, environment
from tests.support import PROGRAMS

MODES = {"auto": MODERN, "legacy": LEGACY}
TOOLS = {"send", "inbox", "reply", "done", "peers", "thread", "join"}
Connect = Callable[..., Any]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Return how the client finds out the era of the server."""
    value: str = request.param
    return value


@pytest.fixture
def connect(mode: str, tmp_path: Path, db: str) -> Connect:
    """Make a client of a server of its own, for `async with`; options that the command line lacks go to a program."""

    @asynccontextmanager
    async def client(address: str, **options: Any) -> AsyncIterator[Any]:
        program, *arguments = (*RAVEN_MCP, "--db", db, "--as", address)
        if options:
            arguments = [str(PROGRAMS / "mcp_server.py"), json.dumps({"db": db, "address": address, **options})]
        server = mcp.StdioServerParameters(command=program, args=arguments, env=environment(tmp_path), cwd=tmp_path)
        async with mcp.Client(server, mode=mode) as connected:
            yield connected

    return client


def run(conversation: Coroutine[Any, Any, None]) -> None:
    """Run a conversation to its end, within a minute; raises its first failure, out of the groups around it."""
    failure: BaseException | None = None
    try:
        asyncio.run(asyncio.wait_for(conversation, 60))
    except BaseExceptionGroup as group:
        failure = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
    if failure is not None:
        raise failure


def value_of(result: Any) -> Any:
    """Return the JSON value of a tool's text."""
    assert not result.is_error, result.content
    assert result.structured_content is None
    (content,) = result.content
    return json.loads(content.text)


def test_the_client_learns_version_name_and_instructions(connect: Connect, mode: str) -> None:
    async def talk() -> None:
        async with connect("a:s") as client:
            assert client.protocol_version == MODES[mode]
            assert (client.server_info.name, client.server_info.version) == ("raven", __version__)
            assert client.server_capabilities.tools is not None
            assert client.server_capabilities.resources is None
            assert client.instructions.startswith("raven carries messages between agent sessions")

    run(talk())


def test_the_client_lists_the_tools_with_their_annotations(connect: Connect) -> None:
    async def talk() -> None:
        async with connect("a:s") as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert tools.keys() == TOOLS
            for tool in tools.values():
                assert tool.annotations.open_world_hint is False
                assert tool.annotations.destructive_hint in (False, None)
                assert tool.output_schema is None
                assert tool.input_schema["type"] == "object"

    run(talk())


def test_two_clients_send_wait_and_answer(connect: Connect) -> None:
    async def talk() -> None:
        async with connect("a:s") as asking, connect("b:s") as answering:
            waiting = asyncio.create_task(answering.call_tool("inbox", {"wait_s": 50}))
            question = asyncio.create_task(
                asking.call_tool("send", {"to": "b:s", "body": "which column?", "type": "question", "wait_s": 50})
            )
            (message,) = value_of(await waiting)["messages"]
            assert (message["from"], message["type"], message["body"]) == ("a:s", "question", "which column?")
            value_of(await answering.call_tool("reply", {"id": message["id"], "body": "tenant_id"}))
            assert value_of(await question)["answer"]["body"] == "tenant_id"
            assert value_of(await answering.call_tool("inbox"))["messages"] == []
            conversation = value_of(await asking.call_tool("thread", {"id": message["id"]}))
            assert [one["body"] for one in conversation["messages"]] == ["which column?", "tenant_id"]

    run(talk())


def test_each_tool_can_be_called(connect: Connect) -> None:
    async def talk() -> None:
        async with connect("a:s") as one, connect("b:s") as other:
            assert value_of(await one.call_tool("join", {"role": "architect"}))["you"] == "architect:s"
            sent = value_of(await other.call_tool("send", {"to": "architect:s", "body": {"n": 1}}))
            value_of(await one.call_tool("inbox"))
            assert value_of(await one.call_tool("done", {"ids": [sent["id"]]}))["done"] == [sent["id"]]
            peers = value_of(await other.call_tool("peers"))["peers"]
            assert "architect:s" in {peer["address"] for peer in peers}

    run(talk())


def test_a_fault_of_the_model_is_a_tool_error_and_one_of_the_host_an_exception(connect: Connect) -> None:
    async def talk() -> None:
        async with connect("a:s") as client:
            result = await client.call_tool("done", {"ids": [999]})
            assert result.is_error
            assert "999" in result.content[0].text
            with pytest.raises(mcp.MCPError, match="there is no tool 'no_such'"):
                await client.call_tool("no_such")
            with pytest.raises(mcp.MCPError, match="there is no method 'resources/list'"):
                await client.list_resources()

    run(talk())


def test_a_waiting_call_tells_the_client_its_progress(connect: Connect) -> None:
    async def talk() -> None:
        noted: list[tuple[float, float | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            noted.append((progress, total))

        async with connect("a:s", progress_s=0.1) as client:
            assert value_of(await client.call_tool("inbox", {"wait_s": 1}, progress_callback=note))["messages"] == []
        assert len(noted) >= 3
        assert noted == sorted(noted)
        assert {round(total or 0) for _, total in noted} == {1}

    run(talk())


def test_a_client_that_cancels_its_call_is_served_on_and_the_mail_stays(connect: Connect) -> None:
    async def talk() -> None:
        async with connect("a:s") as one, connect("b:s") as other:
            waiting = asyncio.create_task(one.call_tool("inbox", {"wait_s": 50}))
            await other.call_tool("peers")
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            value_of(await other.call_tool("send", {"to": "a:s", "body": "late"}))
            (message,) = value_of(await one.call_tool("inbox"))["messages"]
            assert message["body"] == "late"

    run(talk())


def test_a_client_that_gives_up_after_its_own_time_is_served_on(connect: Connect) -> None:
    async def talk() -> None:
        async with connect("a:s") as client:
            with pytest.raises(mcp.MCPError, match=r"(?i)timed out"):
                await client.call_tool("inbox", {"wait_s": 50}, read_timeout_seconds=0.3)
            assert value_of(await client.call_tool("inbox"))["messages"] == []

    run(talk())


def test_eight_clients_share_a_bus(connect: Connect) -> None:
    async def talk() -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connect(f"r{number}:s")) for number in range(8)]
            reading = [asyncio.create_task(client.call_tool("inbox", {"wait_s": 50})) for client in clients[1:]]
            sends = (clients[0].call_tool("send", {"to": f"r{n}:s", "body": f"for r{n}"}) for n in range(1, 8))
            await asyncio.gather(*sends)
            bodies = [value_of(result)["messages"][0]["body"] for result in await asyncio.gather(*reading)]
            assert bodies == [f"for r{number}" for number in range(1, 8)]

    run(talk())
