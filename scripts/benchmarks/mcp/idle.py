"""A server that waits: its memory and its CPU time, after one message each way."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from raven import BusClient
from scripts.benchmarks.idle import cpu_percent
from scripts.benchmarks.interleave import interleave_sides
from scripts.benchmarks.mcp.connection import McpServer, raven_command, sdk_command, tool_call, value
from scripts.benchmarks.mcp.start import is_possible
from scripts.benchmarks.metric import Metric, at_most
from scripts.benchmarks.send import BODY_TEXT, RECIPIENT, SENDER

_MEMORY_NOTE = "resident set size, which includes pages shared with other processes (the interpreter, libraries)"


def run_memory(folder: Path, quick: bool) -> list[Metric]:
    """Measure the memory of a server that has sent a message, shown one and finished it."""
    if not is_possible("mcp-memory"):
        return []
    ours, theirs, floor = interleave_sides(
        {
            "raven mcp": lambda: _raven_mib(folder),
            "the SDK's server": lambda: _sdk_mib(folder),
            "Python": lambda: _python_mib(folder),
        },
        3 if quick else 5,
        "MiB",
        notes={"the SDK's server": "a minimal one, with one tool that only answers, and without raven"},
    ).values()
    name = "mcp: memory of an idle raven mcp"
    return [
        Metric.of(name, ours.values, "MiB", at_most(26), (ours, theirs, floor), _MEMORY_NOTE),
        Metric.ratio(f"{name}, against a minimal server of the SDK", ours, theirs),
    ]


def run_idle(folder: Path, quick: bool) -> list[Metric]:
    """Measure the CPU time of a server on an idle bus."""
    rounds, seconds = (3, 5.0) if quick else (3, 20.0)
    shares: list[float] = []
    with McpServer(raven_command(folder / "bus.db"), folder) as server:
        exchange(server, folder)
        time.sleep(3)  # excludes the start, and a look at the mail of the start
        for _ in range(rounds):
            shares += cpu_percent(lambda: [server.cpu_s()], seconds)
    return [Metric.of("mcp: CPU of an idle server, nothing happening", shares, "%", at_most(0.1))]


def exchange(server: McpServer, folder: Path) -> None:
    """Let a server send a message, and let it show one and finish it."""
    server.ask(tool_call("send", to=SENDER, type="work", body=BODY_TEXT))
    with BusClient.at(SENDER, str(folder / "bus.db")) as bus:
        bus.send(RECIPIENT, "work", BODY_TEXT)
    messages = value(server.ask(tool_call("inbox")))["messages"]
    server.ask(tool_call("done", ids=[message["id"] for message in messages]))


def _raven_mib(folder: Path) -> float:
    with McpServer(raven_command(folder / "bus.db"), folder) as server:
        exchange(server, folder)
        return server.memory_mib()


def _sdk_mib(folder: Path) -> float:
    with McpServer(sdk_command(), folder) as server:
        server.ask(tool_call("send", to=SENDER, type="work", body=BODY_TEXT))
        return server.memory_mib()


def _python_mib(folder: Path) -> float:
    greet = "import sys; sys.stdin.readline(); print('{\"result\":{}}', flush=True); sys.stdin.read()"
    with McpServer([sys.executable, "-c", greet], folder) as server:
        return server.memory_mib()
