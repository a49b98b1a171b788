"""Claude Code within a turn: the installation, and notices by hooks."""

from __future__ import annotations

import json
import re
from pathlib import Path

from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.mailbox import agents, noticed, state, steps
from scripts.trials.agents.hosts.claude import Claude
from scripts.trials.agents.model.turn import Answer, Request, Say, Use


def connects(case: Case) -> None:
    """Install raven, ask Claude Code for the health of its servers, and look at a first request."""
    claude = Claude(case)
    claude.install()
    listed = claude.run("mcp", "list")
    line = next((line for line in listed.splitlines() if "raven" in line), listed)
    case.expect("Connected" in line, f"`claude mcp list` says that raven is connected: {line.strip()}")
    case.expect(not case.peers(), f"a look at the servers leaves no address behind: {case.peers()}")
    claude.print("hello")
    first = claude.model.requests[0]
    loaded = sorted(name.split("__")[-1] for name in first.tools if "raven" in name)
    named = set(re.findall(r"mcp__plugin_raven_bus__(\w+)", first.text))
    case.expect(loaded == ["inbox", "send"], f"inbox and send are loaded at once: {', '.join(loaded)}")
    case.expect(len(named) == 7, f"the model knows the names of 7 tools: {', '.join(sorted(named))}")
    case.expect("raven carries messages" in first.text, "the model sees the instructions")
    case.see("connected; the first request has the instructions, 2 tools, and the names of 5")


def plugin(case: Case) -> None:
    """Validate the plugin strictly, install it, list it, and take it off."""
    claude = Claude(case)
    import raven_mcp

    market = Path(raven_mcp.__file__).parent / "integrations" / "claude-code"
    for folder in (market, market / "raven"):
        checked = case.run([case.command(), "plugin", "validate", "--strict", str(folder)], check=False)
        case.expect(
            checked.returncode == 0, f"`claude plugin validate --strict` accepts {folder.name}: {checked.stdout}"
        )
    before = _config(case)
    claude.install()
    listed = claude.run("plugin", "list")
    case.expect("raven" in listed, f"`claude plugin list` shows raven: {listed}")
    case.raven("install", "claude-code", "--uninstall", "--yes")
    listed = claude.run("plugin", "list")
    case.expect("raven@" not in listed, f"`claude plugin list` no longer shows raven: {listed}")
    left = [name for name in ("mcpServers", "hooks") if "raven" in json.dumps(_config(case).get(name, ""))]
    case.expect(not left, f"no entry of raven is left in {left} (before: {sorted(before)})")
    case.see("valid with --strict, installed from the package's folder, taken off without a trace")


def _config(case: Case) -> dict[str, object]:
    values: dict[str, object] = {}
    for name in (".claude.json", ".claude/settings.json"):
        path = case.home / name
        if path.exists():
            values.update(json.loads(path.read_text(encoding="utf-8")))
    return values


def mid_turn(case: Case) -> None:
    """Send mail of each urgency while the model works, and see which of it the next request tells."""
    claude = Claude(case)
    claude.install()
    sent: dict[str, int] = {}

    def send(request: Request) -> Answer:
        address = agents(case, "claude-code")[0]
        for urgency in ("fyi", "prompt", "blocking"):
            sent[urgency], _ = case.send(address, f"a secret of {urgency} mail", urgency)
        return Use("Bash", {"command": "true", "description": "Do nothing"})

    claude.model.model = steps(send)
    claude.print("work", "--allowedTools", "Bash(true)")
    later = claude.model.requests[1]
    told = noticed(later)
    case.expect({sent["prompt"], sent["blocking"]} <= told, f"prompt and blocking mail is told within the turn: {told}")
    case.expect(sent["fyi"] not in told, "fyi mail is not told within the turn")
    case.expect("a secret" not in later.text, "no body travels in a notice")
    case.see("the request after the tool call tells of prompt and blocking mail, not of fyi, without bodies")


def stop(case: Case) -> None:
    """Send mail while the model ends its turn, and count how often the turn goes on."""
    claude = Claude(case)
    claude.install()
    sent: list[int] = []

    def end(request: Request) -> Answer:
        address = agents(case, "claude-code")[0]
        sent.append(case.send(address, "one more thing", "blocking")[0])
        return Say("I am done.")

    claude.model.model = end
    claude.print("work")
    told = [noticed(request) for request in claude.model.requests]
    case.expect(len(told) > 1 and sent[0] in told[1], f"blocking mail continues the turn: {told}")
    case.expect(len(told) == 4, f"the turn goes on three times and then ends: {len(told) - 1} times")
    blocking = len(told) - 1
    claude.model.requests.clear()
    claude.model.model = steps(
        lambda request: _end_with_prompt(case, sent), lambda request: _end_with_prompt(case, sent)
    )
    claude.print("work")
    prompt = len(claude.model.requests) - 1
    case.expect(prompt == 1, f"prompt mail continues the turn once: {prompt} times")
    case.see(f"blocking mail at each end continues the turn {blocking} times, prompt mail {prompt} time")


def _end_with_prompt(case: Case, sent: list[int]) -> Answer:
    # The session before has ended.
    address = next(one for one in agents(case, "claude-code", 2) if state(case, one) != "away")
    sent.append(case.send(address, "a question", "prompt")[0])
    return Say("I am done.")
