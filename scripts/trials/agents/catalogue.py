"""Catalogue: all cases by name, in the order of the table."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NamedTuple

from scripts.trials.agents.case import Case


class Entry(NamedTuple):
    """A case: its program, its place as MODULE.FUNCTION in `cases`, and the promise that it tries."""

    program: str
    place: str
    title: str

    @property
    def scenario(self) -> Callable[[Case], None]:
        """The function that runs the case."""
        module, _, function = self.place.partition(".")
        scenario: Callable[[Case], None] = getattr(
            importlib.import_module(f"scripts.trials.agents.cases.{module}"), function
        )
        return scenario


CASES = {
    "claude-connects": Entry("claude", "claude.connects", "`raven install` ends with a connected server"),
    "claude-plugin": Entry("claude", "claude.plugin", "the plugin is valid, installed, listed and taken off"),
    "claude-mid-turn": Entry("claude", "claude.mid_turn", "a notice of new mail comes within the turn"),
    "claude-stop": Entry("claude", "claude.stop", "mail continues a turn that would end"),
    "claude-idle": Entry("claude", "claude_wake.idle", "`raven send` wakes an idle session, 20 times"),
    "claude-bypass": Entry("claude", "claude_wake.bypass", "an idle session in bypass mode is woken by its own server"),
    "claude-background": Entry("claude", "claude_wake.background", "a long wait in the background wakes the session"),
    "claude-rewake": Entry("claude", "claude_rewake.rewake", "without its socket, a hook that waits wakes a session"),
    "claude-names": Entry("claude", "claude_names.names", "/clear and --resume keep the address and its mail"),
    "claude-agent": Entry("claude", "claude_names.named_agent", "a session that is a named agent has its role"),
    "claude-subagent": Entry("claude", "claude_names.subagent", "mail is told to the main agent, not to a subagent"),
    "claude-approval": Entry(
        "claude", "approval.claude", "with `--allow`, a session calls the tools without a question"
    ),
    "codex-connects": Entry("codex", "codex.connects", "`raven install` ends with a connected server"),
    "codex-hooks": Entry("codex", "codex.untrusted_hooks", "hooks run once the user trusts them, and not before"),
    "codex-mid-turn": Entry("codex", "codex.mid_turn", "a notice of new mail comes within the turn"),
    "codex-stop": Entry("codex", "codex.stop", "mail continues a turn that would end"),
    "codex-idle": Entry("codex", "codex_wake.idle", "`raven send` wakes an idle session, 20 times"),
    "codex-alone": Entry("codex", "codex_wake.alone", "a session without Codex's daemon is woken, too"),
    "codex-two": Entry("codex", "codex_wake.two_terminals", "two terminals with one daemon are two addresses"),
    "codex-subagent": Entry("codex", "codex.subagent", "mail is told to the main agent, not to a subagent"),
    "codex-approval": Entry("codex", "approval.codex", "a session calls the tools without a question"),
    "codex-asks-claude": Entry("codex", "together.codex_asks_claude", "Codex asks an idle Claude Code, and waits"),
    "opencode-lists": Entry("opencode", "lists.opencode", "`raven install` ends with a connected server"),
    "opencode-idle": Entry("opencode", "opencode.idle", "`raven send` wakes an idle session, 20 times"),
    "gemini-lists": Entry("gemini", "lists.gemini", "`raven install` ends with a connected server"),
    "gemini-mid-turn": Entry("gemini", "gemini.mid_turn", "a notice of new mail comes within the turn"),
    "gemini-stop": Entry("gemini", "gemini.stop", "mail continues a turn that would end"),
}
