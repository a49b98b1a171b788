"""opencode between turns: its plugin wakes an idle session."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import urllib.error
import urllib.request
from typing import Any

from scripts.harness.deadline import wait_until
from scripts.trials.agents import programs
from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.mailbox import MailReader, agents, noticed
from scripts.trials.agents.model.anthropic import MESSAGES
from scripts.trials.agents.model.server import ModelServer

_WAKES = 20


def idle(case: Case) -> None:
    """Wake an idle session of `opencode serve` 20 times, from the start of `raven send` to the next request."""
    model = case.stack.enter_context(ModelServer(MESSAGES, case.failures))
    _configure(case, model.url)
    case.raven("install", "opencode", "--yes")
    model.model = MailReader()
    ask = _serve(case)
    session = ask("/session", {})["id"]
    ask(f"/session/{session}/message", {"parts": [{"type": "text", "text": "hello"}]})
    address = agents(case, "opencode")[0]
    took_ms = [_wake(case, model, address, f"news {number}") for number in range(_WAKES)]
    case.expect(max(took_ms) < 2000, f"each takes less than 2 s: {max(took_ms):.0f} ms at most")
    median = statistics.median(took_ms)
    case.see(f"{len(took_ms)} of {_WAKES} woken, median {median:.0f} ms, {min(took_ms):.0f} to {max(took_ms):.0f}")


def _wake(case: Case, model: ModelServer, address: str, text: str) -> float:
    wait_until(lambda: model.has_ended_turn, "the end of the last turn")
    seen = len(model.requests)
    id, began = case.send(address, text)
    request = model.wait_for(lambda request: id in noticed(request), f"a request that tells of #{id}", seen)
    return (request.at - began) * 1000


def _configure(case: Case, url: str) -> None:
    options = {"baseURL": f"{url}/v1", "apiKey": "dummy"}
    model = "anthropic/claude-sonnet-4-5"
    settings = {"model": model, "small_model": model, "provider": {"anthropic": {"options": options}}}
    path = case.home / ".config" / "opencode" / "opencode.json"
    # Where plugins are, opencode installs a package at its start, if it is not there.
    shutil.copytree(programs.beside(case.program_folder, "opencode"), path.parent, symlinks=True)
    path.write_text(json.dumps(settings), encoding="utf-8")
    for name in ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD"):
        case.environment[f"OPENCODE_DISABLE_{name}"] = "1"


def _serve(case: Case) -> Any:
    """Start `opencode serve`; return a function that sends it a request."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = case.stack.enter_context((case.folder / "opencode.log").open("wb"))
    command = [case.command(), "serve", "--port", str(port)]
    server = subprocess.Popen(command, env=case.environment, cwd=case.project, stdout=log, stderr=log)
    case.stack.callback(server.wait)
    case.stack.callback(server.terminate)

    def ask(path: str, body: Any = None, timeout_s: float = 60) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return json.loads(response.read())

    def answers() -> bool:
        try:
            return ask("/session", timeout_s=5) == []  # it never answers a request that comes too early
        except (urllib.error.URLError, OSError):
            return False

    wait_until(answers, "opencode answers", 60, 0.2)
    return ask
