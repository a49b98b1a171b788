"""Hooks of a host: a call of the connected server, a look for a file that is not there, and a process of raven."""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from raven import BusClient
from scripts.benchmarks.interleave import interleave_sides
from scripts.benchmarks.mcp.connection import SESSION, McpServer, environment, p50_ms, raven_command, tool_call
from scripts.benchmarks.mcp.tools import calls_ms
from scripts.benchmarks.metric import Metric, at_most
from scripts.benchmarks.send import BODY_TEXT, RECIPIENT, SENDER

_EVENT = "PostToolBatch"
_PYTHON = "python -ISE -c pass"
_EACH = 20


def run(folder: Path, quick: bool) -> list[Metric]:
    """Measure the three ways of a hook without mail, and a call of the server with a new message each time."""
    rounds, batch = (6, 100) if quick else (20, 200)
    raven, db = raven_command(folder / "bus.db")[0], str(folder / "bus.db")
    look = f"[ ! -e {shlex.quote(str(folder / 'flag'))} ] || exec {shlex.quote(raven)} hook {_EVENT} --host gemini"
    processes = {
        "sh, flag absent": ["sh", "-c", look],
        "true": ["true"],
        "raven hook": [raven, "hook", _EVENT, "--host", "claude-code", "--db", db],
        _PYTHON: [sys.executable, "-ISE", "-c", "pass"],
    }
    with McpServer(raven_command(db), folder) as server, BusClient.at(SENDER, db) as bus:
        call = tool_call("hook", event=_EVENT, session=SESSION, agent="")
        measures: dict[str, Callable[[], float]] = {
            "a new message": partial(notices_ms, server, bus, call, _EACH),
            "no mail": partial(calls_ms, server, call, batch),
        }
        measures |= {name: partial(processes_ms, command, folder) for name, command in processes.items()}
        told, called, flag, nothing, hooked, python = interleave_sides(measures, rounds, "ms").values()
    beyond = [ours - floor for ours, floor in zip(flag.values, nothing.values, strict=True)]
    return [
        Metric.of(
            "mcp: hook through the connected server, a new message, p50", told.values, "ms", at_most(2), (told, called)
        ),
        Metric.of("mcp: flag file of a hook, no mail, beyond `true`", beyond, "ms", at_most(1.5), (flag, nothing)),
        Metric.ratio(f"mcp: raven hook, whole process, no mail, against {_PYTHON}", hooked, python),
    ]


def notices_ms(server: McpServer, bus: BusClient, call: bytes, count: int) -> float:
    """Send messages, and call the hook after each; return its median time, in milliseconds."""
    ids, times_s = [], []
    for _ in range(count):
        ids.append(bus.send(RECIPIENT, "work", BODY_TEXT).id)
        begin = time.perf_counter()
        answer = server.ask(call)
        times_s.append(time.perf_counter() - begin)
        if f"#{ids[-1]}" not in str(answer):
            raise RuntimeError(f"the hook answered {answer} to message #{ids[-1]}")
    server.ask(tool_call("done", ids=ids))
    return p50_ms(times_s)


def processes_ms(command: Sequence[str], folder: Path) -> float:
    """Run a command several times, each with an event on its input, and return the median time, in milliseconds."""
    event = json.dumps({"hook_event_name": _EVENT, "session_id": SESSION, "cwd": str(folder)}).encode()
    place, times_ms = environment(folder), []
    for _ in range(_EACH):
        begin = time.perf_counter()
        subprocess.run(command, input=event, cwd=folder, env=place, check=True, stdout=subprocess.DEVNULL)
        times_ms.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times_ms)
