"""Claude Code without its inbox socket: a hook that ends late wakes an idle session."""

from __future__ import annotations

import json
import shutil
import statistics
from typing import Any

from scripts.harness.deadline import wait_until
from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.mailbox import MailReader, agents, noticed, wait_for_idle
from scripts.trials.agents.hosts.claude import Claude

_WAKES = 10
_INPUT = {
    "event": "${hook_event_name}",
    "session": "${session_id}",
    "agent": "${agent_id}",
    "active": "${stop_hook_active}",
}


def rewake(case: Case) -> None:
    """Wake an idle session by `raven hook wait` alone, from the start of `raven send` to the next request."""
    claude = Claude(case)
    _configure(case)
    claude.model.model = MailReader()
    terminal = claude.start()
    terminal.type("hello")
    terminal.wait_for("I am idle now.")
    address = agents(case, "claude-code")[0]
    took_ms = []
    for number in range(_WAKES):
        wait_until(lambda: claude.model.has_ended_turn, "the end of the last turn")
        wait_for_idle(case, address)
        seen = len(claude.model.requests)
        id, began = case.send(address, f"news {number}")
        request = claude.model.wait_for(lambda request, id=id: id in noticed(request), f"news of #{id}", seen)
        took_ms.append((request.at - began) * 1000)
    median = statistics.median(took_ms)
    case.expect(max(took_ms) < 3000, f"each takes less than 3 s: {max(took_ms):.0f} ms at most")
    case.see(f"{len(took_ms)} of {_WAKES} woken, median {median:.0f} ms, {min(took_ms):.0f} to {max(took_ms):.0f}")


def _configure(case: Case) -> None:
    """Write a server that does not push, and hooks with the waiting one, which the installed line spares here."""
    raven = shutil.which("raven", path=case.environment["PATH"])
    server = {"type": "stdio", "command": raven, "args": ["mcp", "--no-push"]}
    (case.project / ".mcp.json").write_text(json.dumps({"mcpServers": {"raven": server}}), encoding="utf-8")
    tool = {"type": "mcp_tool", "server": "raven", "tool": "hook", "input": _INPUT, "timeout": 5}
    wait = {
        "type": "command",
        "command": raven,
        "args": ["hook", "wait", "--host", "claude-code"],
        "asyncRewake": True,
        "timeout": 86400,
    }
    hooks: dict[str, Any] = {event: [{"hooks": [tool]}] for event in ("UserPromptSubmit", "PostToolBatch", "Stop")}
    hooks["Stop"][0]["hooks"] = [tool, wait]
    settings = {"hooks": hooks, "permissions": {"allow": ["mcp__raven"]}, "enableAllProjectMcpServers": True}
    path = case.home / ".claude" / "settings.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(settings), encoding="utf-8")
