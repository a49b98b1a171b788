"""The wall clock is read in one place, so that a test can step it; timeouts use the monotonic clock."""

from __future__ import annotations

import ast
from pathlib import Path

import raven
import raven_http
import raven_mcp
import raven_rpc

HOMES = [Path(package.__file__).parent for package in (raven, raven_rpc, raven_http, raven_mcp) if package.__file__]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for home in HOMES for path in sorted(home.rglob("*.py"))}
WALL_CLOCKS = {"time.time", "time.time_ns", "time.clock_gettime", "datetime.now", "datetime.utcnow", "datetime.today"}
# What compares with the times of files, which the file system takes from the same clock.
ELSEWHERE = {"clock.py": {"time.time_ns"}, "doorbell.py": {"time.time_ns"}, "fifo.py": {"time.time"}}


def test_every_module_reads_the_time_of_day_by_the_function_now() -> None:
    calls_by_path = {}
    for path, tree in TREES.items():
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        calls_by_path[path] = calls & WALL_CLOCKS - ELSEWHERE.get(path.name, set())

    assert {path: calls for path, calls in calls_by_path.items() if calls} == {}


def test_no_module_keeps_a_copy_of_a_clock_that_a_trial_replaces() -> None:
    taken = {
        (path, name.name)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("raven.model.clock", "time")
        for name in node.names
    }

    assert {name for _, name in taken} & {"now", "time", "time_ns", "clock_gettime"} == set(), taken
