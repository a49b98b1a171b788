"""Gemini CLI: one settings file for the server and the hooks, which are commands only.

Source: geminicli.com/docs/hooks/reference.
"""

from __future__ import annotations

import os
from typing import Any

from raven_mcp.hooks.answers import AFTER_TOOL, PROMPT, SESSION_END, SESSION_START, STOP
from raven_mcp.install.entries import HOOK_TIMEOUT_S, Program
from raven_mcp.install.hosts.host import Host, Layout, Place, home, own_folder
from raven_mcp.install.plan import Order

# The kind of each event, and whether a flag spares the command while no mail waits.
_EVENTS = {
    "SessionStart": (SESSION_START, False),
    "BeforeAgent": (PROMPT, True),
    "AfterTool": (AFTER_TOOL, True),
    "AfterAgent": (STOP, True),
    "SessionEnd": (SESSION_END, False),
}


class Gemini(Host):
    """Gemini CLI."""

    name = "gemini"
    programs = ("gemini",)

    def folder(self) -> str:
        """Return ~/.gemini."""
        return home(".gemini")

    def layout(self, scope: str) -> Layout:
        """Return one file for both."""
        folder = self.folder() if scope == "user" else os.path.abspath(".gemini")
        path = os.path.join(folder, "settings.json")
        return Layout(Place(path, ("mcpServers", "raven")), Place(path, ("hooks",)), own_folder(scope, folder))

    def hooks(self, program: Program) -> dict[str, Any]:
        """Return commands, with their limit in milliseconds."""
        return {
            event: {
                "hooks": [
                    {
                        "type": "command",
                        "name": "raven",
                        "command": program.hook_line(kind, self.name, if_flag=has_flag),
                        "timeout": HOOK_TIMEOUT_S * 1000,
                    }
                ]
            }
            for event, (kind, has_flag) in _EVENTS.items()
        }

    def notes(self, order: Order) -> list[str]:
        """Say when Gemini CLI starts no server."""
        return ["Gemini CLI starts servers in trusted folders only; no program can wake its idle sessions"]
