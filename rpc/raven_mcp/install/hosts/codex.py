"""Codex: its configuration in TOML for the server, which `codex mcp add` writes if it is there, and a file for hooks.

Codex runs a hook only after the user has trusted it, by its place and content: right hooks are never rewritten.
"""

from __future__ import annotations

import os
from typing import Any

from raven_mcp.hooks.answers import SESSION_START
from raven_mcp.install import entries, files, toml_text
from raven_mcp.install.document import Document
from raven_mcp.install.entries import HOOK_TIMEOUT_S, SERVER, Program
from raven_mcp.install.files import BACKUP, Change, RefusedError, Step
from raven_mcp.install.hosts.codex_trust import untrusted_hooks
from raven_mcp.install.hosts.host import Host, Installed, Layout, Place, command_of, home, own_folder
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
        server = Place(os.path.join(folder, "config.toml"), ("mcp_servers", "raven"))
        return Layout(server, self._hooks_place(scope), own_folder(scope, folder))

    def _hooks_place(self, scope: str) -> Place:
        folder = self.folder() if scope == "user" else os.path.abspath(".codex")
        return Place(os.path.join(folder, "hooks.json"), ("hooks",))

    def hooks(self, program: Program) -> dict[str, Any]:
        """Return a command for the start, when no server is connected yet, and calls of the server for the rest.

        The events of a session have no `agent_id`: with it, Codex 0.171 runs none of these hooks.
        """
        line = program.hook_line(SESSION_START, self.name)
        handlers = {
            "SessionStart": {"type": "command", "command": line, "timeout": HOOK_TIMEOUT_S},
            "UserPromptSubmit": entries.tool_hook(SERVER),
            "PostToolUse": entries.tool_hook(SERVER),
            "Stop": entries.tool_hook(SERVER, with_active=True),
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
        return [*self._server_steps(order, layout), *self._hook_steps(order, layout)]

    def installed(self, scope: str) -> Installed | None:
        """Return the installation in a scope."""
        layout = self.layout(scope)
        path = layout.server.path
        hooks_path = self._hooks_place(scope).path
        try:
            server = toml_text.server_of(_text(path))
            hooks = Document(hooks_path, None).get(("hooks",))
        except (NotPlainError, UnicodeDecodeError) as error:
            return Installed(scope, path, problem=f"{path} {error}") if b"raven" in (files.read(path) or b"") else None
        except RefusedError as error:
            return Installed(scope, hooks_path, problem=str(error))
        has_hooks = next(entries.hook_places(hooks), None) is not None
        if not entries.is_server(server):
            problem = f"{hooks_path} has hooks of raven, but {path} no server"
            return Installed(scope, hooks_path, (), True, problem) if has_hooks else None
        return Installed(scope, path, command_of(server), has_hooks)

    def _server_steps(self, order: Order, layout: Layout) -> list[Step]:
        path = layout.server.path
        command, args = order.program.path, order.program.server_args()
        before = files.read(path)
        try:
            text = (before or b"").decode()
            old = toml_text.server_of(text)
            if order.is_uninstall:
                return self._removal(path, before, text) if entries.is_server(old) else []
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
            reason = "is not in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            if order.is_uninstall:
                if b"raven" not in (before or b""):
                    return []
                problem = f"{path} {reason}, so it was left alone: remove [mcp_servers.raven] by hand"
                raise RefusedError(problem) from None
            problem = f"{path} {reason}, so it was left alone: write this into it by hand"
            raise RefusedError(problem, toml_text.block(command, args)) from None

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

    def _removal(self, path: str, before: bytes | None, text: str) -> list[Step]:
        after: bytes | None = toml_text.without(text).encode()
        backup = files.read(path + BACKUP)
        if backup is not None and toml_text.same((after or b"").decode(), backup.decode(errors="replace")):
            after = backup
        elif backup is None and not (after or b"").strip():
            after = None
        return [Change(path, before, after, drops_backup=True, within=os.path.dirname(path))]

    def _hook_steps(self, order: Order, layout: Layout) -> list[Step]:
        place = self._hooks_place(order.scope)
        hooks = self.hooks(order.program) if order.hooks and not order.is_uninstall else {}
        wanted = {"hooks": {event: [item] for event, item in hooks.items()}} if hooks else None
        mode = 0o600 if order.scope == "user" else 0o666
        document = Document(place.path, wanted, within=layout.within, mode=mode)
        document.put_hooks(place.keys, hooks)
        change = document.change()
        return [] if change is None else [change]


def _text(path: str) -> str:
    return (files.read(path) or b"").decode()
