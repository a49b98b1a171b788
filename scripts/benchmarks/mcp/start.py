"""The start of a server: from its spawn until the official SDK's client is connected to it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from scripts.benchmarks.interleave import interleave_sides
from scripts.benchmarks.mcp.connection import environment, raven_command, sdk_command
from scripts.benchmarks.metric import Metric, at_most
from scripts.benchmarks.startup import time_ms

_FLOOR = "python -c pass"


def run(folder: Path, quick: bool) -> list[Metric]:
    if not is_possible("mcp-start"):
        return []
    sides = interleave_sides(
        {
            "raven mcp": partial(connected_ms, raven_command(folder / "bus.db"), folder),
            "the SDK's server": partial(connected_ms, sdk_command(), folder),
            _FLOOR: partial(time_ms, [sys.executable, "-c", "pass"], folder),
        },
        6 if quick else 20,
        "ms",
        notes={"the SDK's server": "a minimal one, with one tool that only answers, and without raven"},
    )
    ours, theirs, floor = sides.values()
    name = "mcp: raven mcp, from its spawn until the SDK's client is connected, against"
    return [
        Metric.ratio(f"{name} {_FLOOR}", ours, floor, at_most(8)),
        Metric.ratio(f"{name} a minimal server of the SDK", ours, theirs, at_most(0.25)),
    ]


def connected_ms(command: Sequence[str], home: Path) -> float:
    """Start a server, connect the SDK's client to it, and return how long both took; then the server is ended."""
    return asyncio.run(_connected_ms(command, home))


async def _connected_ms(command: Sequence[str], home: Path) -> float:
    from mcp import Client, StdioServerParameters, stdio_client

    server = StdioServerParameters(command=command[0], args=[*command[1:]], env=environment(home), cwd=home)
    with open(os.devnull, "w", encoding="utf-8") as log:
        client = Client(stdio_client(server, log))
        begin = time.perf_counter()
        async with client:
            return (time.perf_counter() - begin) * 1000


def is_possible(name: str) -> bool:
    """Return whether the SDK is installed; if not, say that the benchmark is left out."""
    if importlib.util.find_spec("mcp") is None:
        print(f"{name} is left out: it needs `pip install mcp`", file=sys.stderr)
        return False
    return True
