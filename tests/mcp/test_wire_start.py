"""The start: a server loads nothing that an agent's session would wait for, and opens no bus before it must."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mcp.harness import environment

# The imports that take long, or that only other commands need.
HEAVY = {"asyncio", "click", "http", "jsonrpcserver", "jsonschema", "logging", "mcp", "pydantic", "subprocess",
         "unittest", "watchfiles", "yaml", "raven.cli.app", "raven_mcp.hooks.hook", "raven_mcp.install"}  # fmt: skip
PROGRAM = """
import json, sys
from raven.cli.main import main
try:
    main()
except SystemExit as ended:
    sys.stderr.write(json.dumps([ended.code, *sys.modules]))
"""
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "claude-code", "version": "1"},
}


def loaded_by(tmp_path: Path, *requests: tuple[str, dict[str, object]], **env: str) -> set[str]:
    """Return the modules that `raven mcp` has loaded after these requests."""
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        for id, (method, params) in enumerate(requests)
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "mcp", "--db", str(tmp_path / "bus.db")],
        check=True, input="\n".join(lines), capture_output=True, text=True, cwd=tmp_path,
        env=environment(tmp_path, env), timeout=60,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == len(requests)
    assert '"error"' not in done.stdout
    code, *modules = json.loads(done.stderr)
    assert code == 0
    return set(modules)


def test_a_server_that_has_introduced_itself_has_loaded_nothing_heavy(tmp_path: Path) -> None:
    requests = [("initialize", INITIALIZE), ("tools/list", {})]

    assert not loaded_by(tmp_path, *requests, CLAUDE_CODE_SESSION_ID="3f2a") & HEAVY


@pytest.mark.parametrize("tool", ["inbox", "peers"])
def test_a_call_of_a_tool_loads_nothing_heavy(tmp_path: Path, tool: str) -> None:
    requests = [("initialize", INITIALIZE), ("tools/call", {"name": tool, "arguments": {}})]

    assert not loaded_by(tmp_path, *requests) & HEAVY


def test_sending_a_message_loads_nothing_heavy(tmp_path: Path) -> None:
    send = {"name": "send", "arguments": {"to": "b:s", "body": "ready"}}

    assert not loaded_by(tmp_path, ("initialize", INITIALIZE), ("tools/call", send)) & HEAVY


def test_a_host_that_only_looks_at_the_tools_makes_no_bus(tmp_path: Path) -> None:
    """A health check of the host must not leave an address behind."""
    loaded_by(tmp_path, ("initialize", INITIALIZE), ("tools/list", {}))

    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("bus.db")] == []
