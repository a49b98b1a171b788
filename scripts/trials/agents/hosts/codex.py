"""Codex: a home without an account, with the scripted model as its provider."""

from __future__ import annotations

from contextlib import suppress

from scripts.trials.agents.case import Case
from scripts.trials.agents.model.openai import RESPONSES
from scripts.trials.agents.model.server import ModelServer
from scripts.trials.agents.model.turn import Use
from scripts.trials.agents.terminal import Terminal

_CONFIG = """\
model = "gpt-5.2-codex"
model_provider = "scripted"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.scripted]
name = "scripted"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "SCRIPTED_KEY"

[projects."{project}"]
trust_level = "trusted"
"""


class Codex:
    """Codex in the home of a case; `model` is its API."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.model = case.stack.enter_context(ModelServer(RESPONSES, case.failures))
        self._binary = case.command("codex")
        case.environment["SCRIPTED_KEY"] = "dummy"
        config = case.home / ".codex" / "config.toml"
        config.parent.mkdir()
        config.write_text(_CONFIG.format(url=self.model.url, project=case.project), encoding="utf-8")

    def install(self, *options: str) -> str:
        """Install raven into it as users do; returns the output."""
        return self.case.raven("install", "codex", "--yes", *options)

    def run(self, *arguments: str, check: bool = True, timeout_s: float = 60) -> str:
        """Run one of its commands, and return the output."""
        result = self.case.run([self._binary, *arguments], check=check, timeout_s=timeout_s)
        return result.stdout + result.stderr

    def trust_hooks(self) -> None:
        """Trust the hooks as a user does, in the dialog of a new terminal."""
        for _ in range(3):  # the terminal that starts the daemon does not ask yet
            with suppress(AssertionError), self.case.terminal([self._binary]) as terminal:
                terminal.wait_for("Trust all and continue", 5)
                terminal.press("2", "Enter")
                terminal.wait_for("Ask Codex to do anything")
                return
        raise AssertionError("Codex does not ask for the trust of hooks")

    def exec(self, prompt: str, *options: str, timeout_s: float = 60) -> str:
        """Let it work on a prompt without a terminal, and return its output."""
        return self.run("exec", "--skip-git-repo-check", *options, prompt, timeout_s=timeout_s)

    def shell(self, command: str) -> Use:
        """Return the call with which the model runs a command of the shell."""
        return Use("exec_command", {"cmd": command})

    def start(self, *arguments: str) -> Terminal:
        """Start it in a terminal, and wait until it takes input."""
        terminal = self.case.terminal([self._binary, *arguments])
        terminal.wait_for("Ask Codex to do anything")
        return terminal
