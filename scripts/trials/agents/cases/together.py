"""Claude Code and Codex together: one asks, and the other is idle."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.mailbox import agents, load, noticed, steps
from scripts.trials.agents.hosts.claude import Claude
from scripts.trials.agents.hosts.codex import Codex
from scripts.trials.agents.model.turn import Answer, Request, Say, Use


def codex_asks_claude(case: Case) -> None:
    """Let Codex ask an idle session of Claude Code, and wait for the answer within its turn."""
    claude = Claude(case)
    claude.install("--allow")
    codex = Codex(case)
    codex.install()
    claude.model.model = _answerer("The column is tenant_id.")
    terminal = claude.start()
    terminal.type("hello")
    terminal.wait_for("I am idle now.")
    (address,) = agents(case, "claude-code")
    began: list[float] = []

    def ask(request: Request) -> Answer:
        began.append(time.monotonic())
        question = {"to": address, "body": "Which column did the migration add?", "type": "question", "wait_s": 60}
        return Use(request.find("send"), question)

    codex.model.model = steps(ask)
    codex.exec("ask the other session")
    last = codex.model.requests[-1]
    case.expect("tenant_id" in last.news, f"the answer is the result of the call: {last.news[-300:]}")
    case.see(f"the answer of the idle session came within the call, after {1000 * (last.at - began[0]):.0f} ms")


def _answerer(answer: str) -> Callable[[Request], Answer]:
    """Return a model that replies to the first message that it reads."""
    asked: list[int] = []

    def model(request: Request) -> Answer:
        asked.extend(int(id) for id in re.findall(r'"id": ?(\d+), ?"from"', request.news))
        if asked:
            tool = request.find("reply")
            return Use(tool, {"id": asked.pop(), "body": answer}) if tool else load(request, "reply")
        return Use(request.find("inbox")) if noticed(request) else Say("I am idle now.")

    return model
