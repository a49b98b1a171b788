"""Gemini CLI within a turn: a hook after each tool looks for one file, and tells of mail if it is there."""

from __future__ import annotations

import json

from scripts.harness.deadline import wait_until
from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.mailbox import agents, noticed, steps
from scripts.trials.agents.model.google import GENERATE, MODEL
from scripts.trials.agents.model.server import ModelServer
from scripts.trials.agents.model.turn import Answer, Request, Use


def mid_turn(case: Case) -> None:
    """Send mail between two calls of tools, and see whether the next request tells of it."""
    model = case.stack.enter_context(ModelServer(GENERATE, case.failures))
    _configure(case, model.url)
    case.raven("install", "gemini", "--yes")
    sent: list[int] = []

    def send(request: Request) -> Answer:
        id, _ = case.send(agents(case, "gemini")[0], "a secret")
        sent.append(id)
        flags = case.home / ".raven" / "flags"
        wait_until(lambda: flags.is_dir() and any(flags.iterdir()), "the flag of the session")
        return Use(request.find("peers"))

    model.model = steps(send)
    case.run([case.command(), "-p", "hello", "--model", MODEL, "--approval-mode", "yolo"], timeout_s=120)
    told = [noticed(request) for request in model.requests]
    case.expect(len(told) == 2 and told[1] == set(sent), f"the second request tells of the mail: {told}")
    case.expect("a secret" not in model.requests[-1].text, "no body is in a notice")
    case.see("told by the hook of the next tool")


def _configure(case: Case, url: str) -> None:
    folder = case.home / ".gemini"
    folder.mkdir()
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "general": {"disableAutoUpdate": True},
        "telemetry": {"enabled": False},
        "privacy": {"usageStatisticsEnabled": False},
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "trustedFolders.json").write_text(json.dumps({str(case.project): "TRUST_FOLDER"}), encoding="utf-8")
    case.environment.update(GEMINI_API_KEY="dummy", GOOGLE_GEMINI_BASE_URL=url, NO_BROWSER="1")
