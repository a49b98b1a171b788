"""Gemini CLI within a turn: hooks after a tool and at its end look for one file, and tell of mail if it is there."""

from __future__ import annotations

import json

from scripts.harness.deadline import wait_until
from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.mailbox import agents, noticed, steps
from scripts.trials.agents.model.google import GENERATE, MODEL
from scripts.trials.agents.model.server import ModelServer
from scripts.trials.agents.model.turn import Answer, Model, Request, Say, Use


def mid_turn(case: Case) -> None:
    """Send mail between two calls of tools, and see whether the next request tells of it."""
    told, sent = _turn(case, lambda request: Use(request.find("peers")))
    case.expect(told == [set(), sent], f"the second request tells of the mail: {told}")
    case.see("the request after the next tool tells of it, without its body")


def stop(case: Case) -> None:
    """Send mail while the model ends its turn, and see whether the turn goes on."""
    told, sent = _turn(case, lambda request: Say("I am done."))
    case.expect(told == [set(), sent], f"the turn goes on once, and tells of the mail: {told}")
    case.see("mail at the end of a turn continues it once")


def _turn(case: Case, answer: Model) -> tuple[list[set[int]], set[int]]:
    """Run a turn in which mail comes at the first request; returns the notices of each request, and the mail's id."""
    model = case.stack.enter_context(ModelServer(GENERATE, case.failures))
    _configure(case, model.url)
    case.raven("install", "gemini", "--yes")
    sent: set[int] = set()

    def send(request: Request) -> Answer:
        sent.add(case.send(agents(case, "gemini")[0], "a secret")[0])
        flags = case.home / ".raven" / "flags"
        wait_until(lambda: flags.is_dir() and any(flags.iterdir()), "the flag of the session")
        return answer(request)

    model.model = steps(send)
    case.run([case.command(), "-p", "hello", "--model", MODEL, "--approval-mode", "yolo"], timeout_s=120)
    case.expect("a secret" not in model.requests[-1].text, "no body is in a notice")
    return [noticed(request) for request in model.requests], sent


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
