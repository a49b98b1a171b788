"""opencode: its configuration for the server, and a plugin that hands mail to an idle session."""

from __future__ import annotations

import json
import os
from typing import Any

from raven_mcp.install import entries, files
from raven_mcp.install.entries import Program
from raven_mcp.install.files import Change, RefusedError, Step
from raven_mcp.install.hosts.host import Host, Installed, Layout, Place, home
from raven_mcp.install.integrations import read_text
from raven_mcp.install.plan import Order

_MARK = "// The plugin of raven for opencode"
_COMMAND = '["raven"]'


class OpenCode(Host):
    """opencode."""

    name = "opencode"
    programs = ("opencode",)

    def folder(self) -> str:
        """Return opencode's folder below XDG_CONFIG_HOME or ~/.config."""
        return os.path.join(os.environ.get("XDG_CONFIG_HOME") or home(".config"), "opencode")

    def layout(self, scope: str) -> Layout:
        """Return the configuration, under the name that it has."""
        folder = self.folder() if scope == "user" else os.getcwd()
        path = os.path.join(folder, "opencode.json")
        with_comments = f"{path}c"
        if not os.path.lexists(path) and os.path.lexists(with_comments):
            path = with_comments
        return Layout(Place(path, ("mcp", "raven")), None)

    def hooks(self, program: Program) -> dict[str, Any]:
        """Return none: the plugin has their part."""
        return {}

    def entry(self, program: Program, old: Any = None) -> dict[str, Any]:
        """Return an entry whose command is one list."""
        if not entries.is_server(old):
            return {"type": "local", "command": [program.path, *program.server_args()], "enabled": True}
        command = old.get("command")
        if not isinstance(command, list) or os.path.basename(command[0]) != "raven":
            return dict(old)
        args = program.server_args() if program.options or command[1:2] != ["mcp"] else command[1:]
        return {**old, "command": [program.path, *args]}

    def steps(self, order: Order) -> list[Step]:
        """Return the steps for the configuration and for the plugin."""
        steps = super().steps(order)
        plugin = self._plugin(order)
        return steps if plugin is None else [*steps, plugin]

    def installed(self, scope: str) -> Installed | None:
        """Return the installation, with hooks if the plugin is there."""
        installed = super().installed(scope)
        if installed is None:
            return None
        return installed._replace(has_hooks=_is_ours(files.read(self._plugin_path(scope))))

    def _plugin_path(self, scope: str) -> str:
        folder = self.folder() if scope == "user" else os.path.abspath(".opencode")
        return os.path.join(folder, "plugins", "raven.ts")

    def _plugin(self, order: Order) -> Change | None:
        path = self._plugin_path(order.scope)
        before = files.read(path)
        after = None
        if order.hooks and not order.is_uninstall:
            words = json.dumps([order.program.path, *order.program.options], ensure_ascii=False)
            after = read_text("opencode", "raven.ts").replace(_COMMAND, words, 1).encode()
        if before == after or (after is None and not _is_ours(before)):
            return None
        if before is not None and not _is_ours(before):
            raise RefusedError(f"the plugin {path} is not raven's: give it another name")
        mode = 0o600 if order.scope == "user" else 0o666
        within = os.path.dirname(path) if order.scope == "user" else os.path.abspath(".opencode")
        return Change(path, before, after, mode=mode, within=within, is_own=True)


def _is_ours(text: bytes | None) -> bool:
    return text is not None and text.startswith(_MARK.encode())
