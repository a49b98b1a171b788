"""The parts of the benchmarks of `raven mcp`: its children, their calls, and what is left out without the SDK."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from raven import BusClient
from scripts.benchmarks.catalogue import BENCHMARKS
from scripts.benchmarks.mcp import hook, idle, start, tools
from scripts.benchmarks.mcp.connection import (
    SESSION,
    McpServer,
    raven_command,
    request,
    result,
    sdk_command,
    tool_call,
)
from scripts.benchmarks.row_count import count_rows
from scripts.benchmarks.send import BODY_TEXT, RECIPIENT, SENDER

COMPARED = ["mcp-start", "mcp-memory", "mcp-round-trip", "mcp-wake"]


@pytest.fixture(params=["raven", "sdk"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> McpServer:
    place = tmp_path / "bus.db", RECIPIENT
    return McpServer(raven_command(*place) if request.param == "raven" else sdk_command(*place), tmp_path)


def test_each_send_of_a_round_is_stored(server: McpServer, tmp_path: Path) -> None:
    with server:
        assert tools.calls_ms(server, tool_call("send", to=SENDER, type="work", body=BODY_TEXT), 3) > 0

        assert count_rows(str(tmp_path / "bus.db"), "messages") == 3


def test_each_message_of_a_round_wakes_the_waiting_server_and_is_finished(server: McpServer, tmp_path: Path) -> None:
    db = str(tmp_path / "bus.db")
    with server, BusClient.at(SENDER, db) as bus:
        settle = tools.finish if "raven" in str(server.greeting) else tools.ignore

        assert len(tools.wakes_ms(server, bus, 3, settle)) == 3

        assert count_rows(db, "deliveries WHERE state = 2") == count_rows(db, "messages") == 3


@pytest.mark.parametrize("kind", ["raven", "sdk"])
def test_the_clock_of_a_start_stops_when_the_client_of_the_sdk_is_connected(kind: str, tmp_path: Path) -> None:
    command = raven_command(tmp_path / "bus.db") if kind == "raven" else sdk_command()

    assert start.connected_ms(command, tmp_path) > 0


def test_a_message_goes_each_way_before_a_server_is_idle(tmp_path: Path) -> None:
    db = tmp_path / "bus.db"
    with McpServer(raven_command(db), tmp_path) as server:
        idle.exchange(server, tmp_path)

        assert count_rows(str(db), "deliveries WHERE recipient = 'bob:bench' AND state = 2") == 1
        assert count_rows(str(db), "deliveries WHERE recipient = 'alice:bench'") == 1
        assert min(server.cpu_s(), server.memory_mib()) > 0


def test_the_sizes_are_those_of_the_answers_of_the_server(tmp_path: Path) -> None:
    with McpServer(raven_command(tmp_path / "bus.db"), tmp_path) as server:
        listed, greeting = server.ask(request("tools/list")), server.greeting

    sizes = [metric.value for metric in tools.run_size(tmp_path, True)]

    assert sizes == [
        len(json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()),
        len(greeting["instructions"].encode()),
    ]


def test_each_new_message_is_told_by_the_hook_and_finished(tmp_path: Path) -> None:
    db = str(tmp_path / "bus.db")
    call = tool_call("hook", event="PostToolBatch", session=SESSION, agent="")
    with McpServer(raven_command(db), tmp_path) as server, BusClient.at(SENDER, db) as bus:
        assert hook.notices_ms(server, bus, call, 3) > 0

        assert count_rows(db, "deliveries WHERE state = 2") == 3


def test_a_hook_without_mail_is_answered_and_its_process_ends_well(tmp_path: Path) -> None:
    raven = raven_command(tmp_path / "bus.db")[0]

    assert hook.processes_ms([raven, "hook", "PostToolBatch", "--host", "claude-code"], tmp_path) > 0


def test_a_tool_that_fails_ends_the_benchmark_with_the_answer(server: McpServer) -> None:
    with server, pytest.raises(RuntimeError, match="the server responded"):
        tools.calls_ms(server, tool_call("send", to=7), 1)


@pytest.mark.parametrize("line", [b'{"id":1,"error":{"code":-32601}}', b'{"id":1,"result":{"isError":true}}'])
def test_an_answer_that_tells_of_an_error_is_no_result(line: bytes) -> None:
    with pytest.raises(RuntimeError, match="the server responded"):
        result(line)


def test_a_server_that_ends_ends_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="has ended"), McpServer([sys.executable, "-c", "pass"], tmp_path):
        pass


def test_without_the_sdk_the_comparisons_are_left_out_with_a_line_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    for name in COMPARED:
        assert BENCHMARKS[name].run(tmp_path, True) == []

    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"{name} is left out: it needs `pip install mcp`" for name in COMPARED]
