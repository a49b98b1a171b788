"""Cursor: a file for the server and a file for hooks, by Cursor's documents alone; it was not tried.

Source: cursor.com/docs/agent/hooks and cursor.com/docs/context/mcp.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from raven_mcp.hooks.answers import AFTER_TOOL, SESSION_END, SESSION_START, STOP
from raven_mcp.install.entries import HOOK_TIMEOUT_S, Program
from raven_mcp.install.hosts.host import Host, Layout, Place, home, own_folder
from raven_mcp.install.plan import Order

_EVENTS = {"sessionStart": SESSION_START, "postToolUse": AFTER_TOOL, "stop": STOP, "sessionEnd": SESSION_END}
_MAX_FOLLOW_UPS = 3


class Cursor(Host):
    """Cursor."""

    name = "cursor"
    programs = ("cursor", "cursor-agent")
    frame: ClassVar[Mapping[str, Any]] = {"version": 1}

    def folder(self) -> str:
        """Return ~/.cursor."""
        return home(".cursor")

    def layout(self, scope: str) -> Layout:
        """Return a file for each."""
        folder = self.folder() if scope == "user" else os.path.abspath(".cursor")
        server = Place(os.path.join(folder, "mcp.json"), ("mcpServers", "raven"))
        return Layout(server, Place(os.path.join(folder, "hooks.json"), ("hooks",)), own_folder(scope, folder))

    def hooks(self, program: Program) -> dict[str, Any]:
        """Return commands; a stop may be answered by a few messages in a row."""
        items: dict[str, Any] = {
            event: {"command": program.hook_line(kind, self.name), "timeout": HOOK_TIMEOUT_S}
            for event, kind in _EVENTS.items()
        }
        items["stop"]["loop_limit"] = _MAX_FOLLOW_UPS
        return items

    def notes(self, order: Order) -> list[str]:
        """Say that Cursor was not tried."""
        return ["this was written by Cursor's documents and not tried with Cursor itself: report what differs"]
