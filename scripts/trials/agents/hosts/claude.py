"""Claude Code: a home that is set up, without an account, with the scripted model as its API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from scripts.trials.agents.case import Case
from scripts.trials.agents.model.anthropic import MESSAGES
from scripts.trials.agents.model.server import ModelServer
from scripts.trials.agents.terminal import Terminal

# A key of no account. Its last 20 characters are approved in the home.
_KEY = "sk-ant-api03-dummy-key-of-the-trial-of-raven"
_QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}


class Claude:
    """Claude Code in the home of a case; `model` is its API."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.model = case.stack.enter_context(ModelServer(MESSAGES, case.failures))
        self._binary = case.command("claude")
        case.environment.update(_QUIET, ANTHROPIC_API_KEY=_KEY, ANTHROPIC_BASE_URL=self.model.url)
        project = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        self._write(
            ".claude.json",
            {
                "hasCompletedOnboarding": True,
                "theme": "dark",
                "bypassPermissionsModeAccepted": True,
                "customApiKeyResponses": {"approved": [_KEY[-20:]], "rejected": []},
                "projects": {str(case.project): project},
            },
        )

    def _write(self, name: str, value: Any) -> None:
        path = self.case.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")

    def install(self, *options: str) -> str:
        """Install raven into it as users do; returns the output."""
        return self.case.raven("install", "claude-code", "--yes", *options)

    def run(self, *arguments: str, check: bool = True, timeout_s: float = 60) -> str:
        """Run one of its commands, and return the output."""
        result = self.case.run([self._binary, *arguments], check=check, timeout_s=timeout_s)
        return result.stdout + result.stderr

    def print(self, prompt: str, *arguments: str, timeout_s: float = 60) -> str:
        """Let it work on a prompt without a terminal, and return its last text."""
        return self.run("-p", prompt, *arguments, timeout_s=timeout_s)

    def start(self, *arguments: str) -> Terminal:
        """Start it in a terminal, and wait until it takes input."""
        terminal = self.case.terminal([self._binary, *arguments])
        terminal.wait_for("for agents")
        return terminal

    def allow(self, rules: Sequence[str]) -> None:
        """Allow tools in the settings of the user, so that no dialog asks for them."""
        path = self.case.home / ".claude" / "settings.json"
        settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        settings.setdefault("permissions", {})["allow"] = list(rules)
        self._write(".claude/settings.json", settings)
