"""Calls of tools: the round trip of a send, the wake of a waiting inbox, and the bytes that a model has to read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from raven import BusClient
from scripts.benchmarks.interleave import interleave, interleave_sides, merge_rounds, percentiles
from scripts.benchmarks.mcp.connection import (
    McpServer,
    p50_ms,
    raven_command,
    request,
    result,
    sdk_command,
    tool_call,
    value,
)
from scripts.benchmarks.mcp.start import is_possible
from scripts.benchmarks.metric import Metric, at_most
from scripts.benchmarks.send import BODY_TEXT, RECIPIENT, SENDER

_WAKES = 50
_PAUSE_S = 0.005
_WAIT_S = 60
_SDK_NOTE = "a minimal one, whose tools use the same bus through raven's Python client"


def run_size(folder: Path, quick: bool) -> list[Metric]:
    """Count the bytes that a host puts into the context of its model: the list of tools, and the instructions."""
    with McpServer(raven_command(folder / "bus.db"), folder) as server:
        tools = json.dumps(server.ask(request("tools/list")), ensure_ascii=False, separators=(",", ":"))
        instructions = server.greeting["instructions"]
    return [
        Metric.of("mcp: result of tools/list", [float(len(tools.encode()))], "bytes", at_most(3200)),
        Metric.of("mcp: instructions", [float(len(instructions.encode()))], "bytes", at_most(900)),
    ]


def run_round_trip(folder: Path, quick: bool) -> list[Metric]:
    """Time the tool `send`, one call after the other."""
    if not is_possible("mcp-round-trip"):
        return []
    rounds, batch = (8, 100) if quick else (20, 300)
    line = tool_call("send", to=RECIPIENT, type="work", body=BODY_TEXT)
    with (
        McpServer(raven_command(folder / "bus.db", SENDER), folder) as server,
        McpServer(sdk_command(folder / "sdk.db", SENDER), folder) as peer,
    ):
        ours, theirs = interleave_sides(
            {
                "raven mcp": partial(calls_ms, server, line, batch),
                "the SDK's server": partial(calls_ms, peer, line, batch),
            },
            rounds,
            "ms",
            notes={"the SDK's server": _SDK_NOTE},
        ).values()
    name = "mcp: round trip of the tool send, p50"
    return [
        Metric.of(name, ours.values, "ms", at_most(0.6), (ours, theirs)),
        Metric.ratio(f"{name}, against a minimal server of the SDK", ours, theirs),
    ]


def calls_ms(server: McpServer, line: bytes, count: int) -> float:
    """Call a tool, one call after the other, and return the median time of a call, in milliseconds."""
    times_s = []
    for _ in range(count):
        begin = time.perf_counter()
        server.ask(line)
        times_s.append(time.perf_counter() - begin)
    return p50_ms(times_s)


def run_wake(folder: Path, quick: bool) -> list[Metric]:
    """Time a message from its send in another process to the answer of a call of `inbox` that waits for it."""
    if not is_possible("mcp-wake"):
        return []
    own_db, peer_db = folder / "bus.db", folder / "sdk.db"
    with (
        McpServer(raven_command(own_db), folder) as server,
        McpServer(sdk_command(peer_db, RECIPIENT), folder) as peer,
        BusClient.at(SENDER, str(own_db)) as bus,
        BusClient.at(SENDER, str(peer_db)) as peer_bus,
    ):
        times = interleave(
            {
                "raven mcp": partial(wakes_ms, server, bus, _WAKES, finish),
                "the SDK's server": partial(wakes_ms, peer, peer_bus, _WAKES, ignore),
            },
            4 if quick else 12,
        )
    middle, slow = percentiles(times, 50, "ms"), percentiles(merge_rounds(times), 99, "ms")
    name = "mcp: send by another process to the answer of a waiting inbox,"
    return [
        Metric.of(f"{name} p50", middle[0].values, "ms", at_most(2), middle),
        Metric.of(f"{name} p99", slow[0].values, "ms", sides=slow),
    ]


def wakes_ms(server: McpServer, bus: BusClient, count: int, settle: Callable[[McpServer, bytes], None]) -> list[float]:
    """Send messages to a server that waits for each; return each time, and `settle` each answer afterwards."""
    line, times_ms = tool_call("inbox", wait_s=_WAIT_S), []
    for _ in range(count):
        server.tell(line)
        time.sleep(_PAUSE_S)  # the call waits by now
        begin = time.perf_counter()
        bus.send(RECIPIENT, "work", BODY_TEXT)
        answer = server.line()
        times_ms.append((time.perf_counter() - begin) * 1000)
        settle(server, answer)
    return times_ms


def ignore(server: McpServer, answer: bytes) -> None:
    """Do nothing: the SDK's server has acked the message."""


def finish(server: McpServer, answer: bytes) -> None:
    """Finish the messages that an answer of raven shows, so that the next call waits again."""
    messages = value(result(answer))["messages"]
    server.ask(tool_call("done", ids=[message["id"] for message in messages]))
