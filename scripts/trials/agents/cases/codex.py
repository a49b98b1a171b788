"""Codex within a turn: the installation, the trust of hooks, and notices by hooks."""

from __future__ import annotations

import json
import re

from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.mailbox import agents, noticed, steps
from scripts.trials.agents.hosts.codex import Codex
from scripts.trials.agents.model.turn import Answer, Request, Say, Use

TRUST = "--dangerously-bypass-hook-trust"


def connects(case: Case) -> None:
    """Install raven, list Codex's servers, and look at a first request."""
    codex = Codex(case)
    codex.install()
    listed = {server["name"]: server for server in json.loads(codex.run("mcp", "list", "--json"))}
    case.expect("raven" in listed, f"`codex mcp list` shows raven: {sorted(listed)}")
    codex.exec("hello")
    first = codex.model.requests[0]
    case.expect("raven carries messages" in first.text, "the model sees the instructions")
    tools = sorted(name for name in first.tools if "raven" in name)
    case.expect(len(tools) == 7, f"the model sees 7 tools: {tools}")
    case.see("listed; the first request has the instructions and 7 tools")


def untrusted_hooks(case: Case) -> None:
    """Count the hooks of a turn that ran before the user trusts them, and after the user trusted them in a terminal."""
    codex = Codex(case)
    codex.install()
    codex.exec("work")
    case.expect(not case.peers(), f"without trust no hook reaches the server: {case.peers()}")
    codex.trust_hooks()
    sent: list[int] = []

    def send(request: Request) -> Answer:
        sent.append(case.send(agents(case, "codex")[-1], "a secret")[0])
        return codex.shell("true")

    codex.model.requests.clear()
    codex.model.model = steps(send)
    codex.exec("work")
    told = noticed(codex.model.requests[-1])
    case.expect(told == set(sent), f"trusted hooks bring the notice: {told}")
    case.see("before the user trusts them, no hook runs; afterwards the notice comes, without any flag")


def mid_turn(case: Case) -> None:
    """Send mail of each urgency while the model works, and see which of it the next request tells."""
    codex = Codex(case)
    codex.install()
    sent: dict[str, int] = {}

    def send(request: Request) -> Answer:
        address = agents(case, "codex")[0]
        for urgency in ("fyi", "prompt", "blocking"):
            sent[urgency], _ = case.send(address, f"a secret of {urgency} mail", urgency)
        return codex.shell("true")

    codex.model.model = steps(send)
    codex.exec("work", TRUST)
    later = codex.model.requests[1]
    told = noticed(later)
    case.expect({sent["prompt"], sent["blocking"]} <= told, f"prompt and blocking mail is told within the turn: {told}")
    case.expect(sent["fyi"] not in told, "fyi mail is not told within the turn")
    case.expect("a secret" not in later.text, "no body travels in a notice")
    case.see("the request after the tool call tells of prompt and blocking mail, not of fyi, without bodies")


def stop(case: Case) -> None:
    """Send blocking mail whenever the model ends its turn, and count how often the turn goes on."""
    codex = Codex(case)
    codex.install()

    def end(request: Request) -> Answer:
        case.send(agents(case, "codex")[0], "one more thing", "blocking")
        return Say("I am done.")

    codex.model.model = end
    codex.exec("work", TRUST)
    told = [sorted(noticed(request)) for request in codex.model.requests]
    case.expect(len(told) == 4 and all(told[1:]), f"the turn goes on three times and then ends: {told}")
    case.see(f"blocking mail at each end continues the turn {len(told) - 1} times")


def subagent(case: Case) -> None:
    """Send mail while a subagent works: the subagent hears nothing and has no address, and the main agent hears."""
    codex = Codex(case)
    codex.install()
    task = "the task of a subagent"
    sent: list[int] = []

    def model(request: Request) -> Answer:
        if _is_of(task, request):
            if sent:
                return Say("The task is done.")
            sent.append(case.send(agents(case, "codex")[0], "a secret")[0])
            return codex.shell("true")
        if started := re.search(r'"agent_id": ?"([^"]+)', request.news):
            return Use("multi_agent_v1.wait_agent", {"targets": [started[1]], "timeout_ms": 30_000})
        return Say("I am idle now.") if sent else Use("multi_agent_v1.spawn_agent", {"message": task})

    codex.model.model = model
    codex.exec("work", TRUST)
    told = [_is_of(task, request) for request in codex.model.requests if noticed(request)]
    case.expect(told == [False], f"the main agent is told once, and the subagent is not: {told}")
    case.expect(len(agents(case, "codex")) == 1, f"the subagent has no address of its own: {agents(case, 'codex')}")
    case.see("mail that comes during the work of a subagent is told to the main agent alone")


def _is_of(task: str, request: Request) -> bool:
    """Whether a request is that of the agent that has this task."""
    inputs = [item for item in request.body["input"] if item.get("role") == "user"]
    return task in str(inputs[-1])
