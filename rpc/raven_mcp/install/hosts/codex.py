"""Codex: its configuration in TOML for the server, which `codex mcp add` writes if it is there, and a file for hooks.

Codex runs a hook only after the user has trusted it, by its place and content: right hooks are never rewritten.
"""

from __future__ import annotations

import os
from typing import Any

from raven_mcp.hooks.answers import SESSION_START
from raven_mcp.install import entries, files, toml_text
from raven_mcp.install.entries import HOOK_TIMEOUT_S, SERVER, Program
from raven_mcp.install.files import BACKUP, Change, RefusedError, Step
from raven_mcp.install.hosts.codex_trust import untrusted_hooks
from raven_mcp.install.hosts.host import Host, Layout, Place, home, own_folder
from raven_mcp.install.json_text import NotPlainError
from raven_mcp.install.plan import Order, Run

_TRUST = "open `codex` once and trust the hooks with /hooks: until then mail is seen when a tool of raven is called"


class Codex(Host):
    """Codex."""

    name = "codex"
    programs = ("codex",)

    def folder(self) -> str:
        """Return CODEX_HOME or ~/.codex."""
        return os.environ.get("CODEX_HOME") or home(".codex")

    def layout(self, scope: str) -> Layout:
        """Return the TOML file for the server and the JSON file for hooks."""
        folder = self.folder() if scope == "user" else os.path.abspath(".codex")
        server = Place(os.path.join(folder, "config.toml"), ("mcp_servers", SERVER))
        return Layout(server, Place(os.path.join(folder, "hooks.json"), ("hooks",)), own_folder(scope, folder))

    def hooks(self, program: Program) -> dict[str, Any]:
        """Return a command for the start, when no server is connected yet, and calls of the server for the rest."""
        line = program.hook_line(SESSION_START, self.name)
        handlers = {
            "SessionStart": {"type": "command", "command": line, "timeout": HOOK_TIMEOUT_S},
            "UserPromptSubmit": entries.tool_hook(SERVER),
            "PostToolUse": entries.tool_hook(SERVER),
            "Stop": entries.tool_hook(SERVER, **entries.ACTIVE),
        }
        return {event: {"hooks": [handler]} for event, handler in handlers.items()}

    def has_untrusted_hooks(self) -> bool:
        """Whether Codex itself says so."""
        codex = self.program()
        return codex is not None and bool(untrusted_hooks(codex))

    def notes(self, order: Order) -> list[str]:
        """Say that hooks need trust."""
        return [_TRUST] if order.hooks else []

    def steps(self, order: Order) -> list[Step]:
        """Return the steps for the server and for the hooks."""
        layout = self.layout(order.scope)
        return [*self._server_steps(order, layout), *self.changes(order, layout, has_server=False)]

    def read_server(self, place: Place) -> Any:
        """Return the table of the server."""
        data = files.read(place.path) or b""
        try:
            return toml_text.server_of(data.decode())
        except (NotPlainError, UnicodeDecodeError) as error:
            if b"raven" in data:
                raise _refusal(place.path, error) from None
            return None

    def _server_steps(self, order: Order, layout: Layout) -> list[Step]:
        path = layout.server.path
        command, args = order.program.path, order.program.server_args()
        before = files.read(path)
        try:
            text = (before or b"").decode()
            old = toml_text.server_of(text)
            if order.is_uninstall:
                return self._removal(layout, before, text) if entries.is_server(old) else []
            if old is None:
                return self._addition(order, layout, before, text)
            if not entries.is_server(old):
                raise RefusedError(f"the server raven in {path} is another program's: give that another name")
            entry = entries.server_entry(order.program, old)
            if entry == old:
                return []
            after = toml_text.with_command(text, entry["command"], entry["args"])
            return [Change(path, before, after.encode(), within=layout.within)]
        except (NotPlainError, UnicodeDecodeError) as error:
            if order.is_uninstall and b"raven" not in (before or b""):
                return []
            snippet = "" if order.is_uninstall else toml_text.block(command, args)
            raise _refusal(path, error, snippet) from None

    def _addition(self, order: Order, layout: Layout, before: bytes | None, text: str) -> list[Step]:
        command, args = order.program.path, order.program.server_args()
        codex = self.program()
        if codex is not None and order.scope == "user":
            path = layout.server.path
            backup = [] if before is None else [Change(path, before, before, backup=before)]
            run = Run([codex, "mcp", "add", SERVER, "--", command, *args], restores=[path])
            return [*backup, run]
        after = toml_text.append(text, command, args).encode()
        mode = 0o600 if order.scope == "user" else 0o666
        return [Change(layout.server.path, before, after, backup=before, mode=mode, within=layout.within)]

    def _removal(self, layout: Layout, before: bytes | None, text: str) -> list[Step]:
        path = layout.server.path
        after: bytes | None = toml_text.without(text).encode()
        backup = files.read(path + BACKUP)
        if backup is not None and toml_text.same((after or b"").decode(), backup.decode(errors="replace")):
            after = backup
        elif backup is None and not (after or b"").strip():
            after = None
        return [Change(path, before, after, drops_backup=True, within=layout.within)]


def _refusal(path: str, error: NotPlainError | UnicodeDecodeError, snippet: str = "") -> RefusedError:
    reason = "is not in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    remedy = "write this into it by hand" if snippet else "remove [mcp_servers.raven] by hand"
    return RefusedError(f"{path} {reason}, so it was left alone: {remedy}", snippet)
