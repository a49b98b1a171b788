"""Claude Code: a plugin if the program `claude` is there, else entries in its settings.

The plugin is a copy of raven's own with the path of this `raven` in it: a session that was started from a desktop has
no PATH that leads there. Claude Code keeps a copy of its own.
"""

from __future__ import annotations

import json
import os
from typing import Any

from raven_mcp.hooks.answers import SESSION_END, SESSION_START
from raven_mcp.hooks.hook import WAIT
from raven_mcp.install import entries, files
from raven_mcp.install.document import Document
from raven_mcp.install.entries import HOOK_TIMEOUT_S, MARKETPLACE, PLUGIN, PLUGIN_SERVER, SERVER, Program
from raven_mcp.install.files import Change, RefusedError, Step
from raven_mcp.install.hosts.host import Host, Installed, Layout, Place, command_of, home, own_folder
from raven_mcp.install.integrations import read_folder
from raven_mcp.install.plan import Later, Order, Run

_INTEGRATION = "claude-code"
_SERVER_FILE, _HOOKS_FILE = os.path.join("raven", ".mcp.json"), os.path.join("raven", "hooks", "hooks.json")
# A session waits no longer in one go; its next turn begins another wait.
_LONGEST_WAIT_S = 86_400
_PROJECT_SETTINGS = os.path.join(".claude", "settings.json")
# The agent within the session, and the name of the agent as which the session was started; empty if there is none.
_AGENT = {"agent": "${agent_id}", "agent_type": "${agent_type}"}
_ALLOWED = {True: "mcp__plugin_raven_bus", False: "mcp__raven"}


class ClaudeCode(Host):
    """Claude Code."""

    name = "claude-code"
    programs = ("claude",)

    def folder(self) -> str:
        """Return CLAUDE_CONFIG_DIR or ~/.claude."""
        return os.environ.get("CLAUDE_CONFIG_DIR") or home(".claude")

    def layout(self, scope: str) -> Layout:
        """Return one file for the server and one for hooks."""
        if scope == "user":
            folder = self.folder()
            path = os.path.join(os.environ.get("CLAUDE_CONFIG_DIR") or home(), ".claude.json")
        else:
            folder, path = os.path.abspath(".claude"), os.path.abspath(".mcp.json")
        hooks = Place(os.path.join(folder, "settings.json"), ("hooks",))
        return Layout(Place(path, ("mcpServers", SERVER)), hooks, own_folder(scope, folder))

    def entry(self, program: Program, old: Any = None) -> dict[str, Any]:
        """Return the entry of the server with its type, as `claude mcp add` writes it."""
        return entries.server_entry(program, old, type="stdio")

    def hooks(self, program: Program, server: str = SERVER) -> dict[str, Any]:
        """Return commands for the start and end, when no server is connected, and calls of the server for the rest."""
        handlers = {
            "SessionStart": self._command_hook(program, SESSION_START),
            "UserPromptSubmit": entries.tool_hook(server, **_AGENT),
            "PostToolBatch": entries.tool_hook(server, **_AGENT),
            "Stop": entries.tool_hook(server, **_AGENT, **entries.ACTIVE),
            "SessionEnd": self._command_hook(program, SESSION_END),
        }
        items = {event: {"hooks": [handler]} for event, handler in handlers.items()}
        items["Stop"]["hooks"].append(self._waiting_hook(program))
        return items

    def stands_in_files(self, order: Order) -> bool:
        """Whether no plugin is installed."""
        return order.scope == "project" or self.program() is None

    def allowance(self, order: Order) -> tuple[Place, tuple[str, ...]]:
        """Return the permissions of the settings."""
        path = self._settings() if order.scope == "user" else os.path.abspath(_PROJECT_SETTINGS)
        is_plugin = not self.stands_in_files(order)
        return Place(path, ("permissions", "allow")), (_ALLOWED[is_plugin], _ALLOWED[not is_plugin])

    def steps(self, order: Order) -> list[Step]:
        """Return the steps for the files, and in the user's scope for the plugin."""
        layout = self.layout(order.scope)
        program = self.program()
        if order.scope == "user" and order.is_uninstall and self._is_enabled() is not None:
            return self._removal(order, layout, program)
        changes = self.changes(order, layout)
        steps: list[Step] = [*changes]
        if order.scope == "user" and (program is None or order.is_uninstall):
            steps += self._copy_changes({})
        elif order.scope == "user" and program is not None:
            steps += self._addition(order, program, has_copy=any(change.path == self._settings() for change in changes))
        return steps

    def installed(self, scope: str) -> Installed | None:
        """Return the installation: the plugin if it is enabled, else the entries."""
        is_enabled = self._is_enabled() if scope == "user" else None
        if is_enabled is False:
            problem = f"the plugin {PLUGIN} is disabled: run `claude plugin enable {PLUGIN}`"
            return Installed(scope, f"plugin {PLUGIN}", problem=problem)
        if is_enabled:
            server = Document(self._copy(_SERVER_FILE), None).get(("mcpServers", "bus"))
            if not entries.is_server(server):
                problem = f"the plugin {PLUGIN} was not installed by `raven install`"
                return Installed(scope, f"plugin {PLUGIN}", problem=problem)
            return Installed(scope, f"plugin {PLUGIN}", command_of(server), os.path.exists(self._copy(_HOOKS_FILE)))
        return super().installed(scope)

    def _command_hook(self, program: Program, kind: str) -> dict[str, Any]:
        args = program.hook_args(kind, self.name)
        return {"type": "command", "command": program.path, "args": args, "timeout": HOOK_TIMEOUT_S}

    def _waiting_hook(self, program: Program) -> dict[str, Any]:
        """Return a command that waits in the background and wakes the session, which needs it without a socket only."""
        line = f'[ -S "$CLAUDE_CODE_MESSAGING_SOCKET" ] || exec {program.hook_line(WAIT, self.name)}'
        return {"type": "command", "command": line, "asyncRewake": True, "timeout": _LONGEST_WAIT_S}

    def _copy(self, *parts: str) -> str:
        return home(".raven", _INTEGRATION, *parts)

    def _settings(self) -> str:
        return os.path.join(self.folder(), "settings.json")

    def _is_enabled(self) -> bool | None:
        """Return None if the plugin is not installed."""
        try:
            value = Document(self._settings(), None).get(("enabledPlugins", PLUGIN))
        except RefusedError:
            return None
        return None if value is None else value is True

    def plugin_files(self, program: Program, *, has_hooks: bool = True) -> dict[str, bytes]:
        """Return the files of the plugin and its marketplace, with the command in them."""
        contents = dict(read_folder(_INTEGRATION))
        server = {"mcpServers": {"bus": {"command": program.path, "args": program.server_args()}}}
        contents[_SERVER_FILE] = _json(server)
        contents[_HOOKS_FILE] = _json({"hooks": self._plugin_hooks(program)})
        if not has_hooks:
            del contents[_HOOKS_FILE]
        return contents

    def _plugin_hooks(self, program: Program) -> dict[str, Any]:
        return {event: [item] for event, item in self.hooks(program, PLUGIN_SERVER).items()}

    def _addition(self, order: Order, program: str, *, has_copy: bool) -> list[Step]:
        copies = self._copy_changes(self.plugin_files(order.program, has_hooks=order.hooks))
        is_enabled = self._is_enabled()
        if not copies and is_enabled:
            return []
        steps: list[Step] = [] if is_enabled is None else self._uninstall_runs(program)
        path = self._settings()
        before = files.read(path)
        if before is not None and is_enabled is None and not has_copy:
            steps.append(Change(path, before, before, backup=before))
        add = [program, "plugin", "marketplace", "add", self._copy()]
        remove = [program, "plugin", "marketplace", "remove", MARKETPLACE]
        install, uninstall = ([program, "plugin", verb, PLUGIN] for verb in ("install", "uninstall"))
        return [*steps, *copies, Run(add, remove, [path]), Run(install, uninstall, [path])]

    def _removal(self, order: Order, layout: Layout, program: str | None) -> list[Step]:
        if program is None:
            raise RefusedError(f"`claude` is not on PATH, and it alone can uninstall the plugin {PLUGIN}")
        words = f"restore {self._settings()} if nothing else has changed in it"
        cleanup = Later(words, lambda: self.changes(order, layout, is_cleanup=True))
        return [*self._uninstall_runs(program), *self._copy_changes({}), cleanup]

    def _uninstall_runs(self, program: str) -> list[Step]:
        return [
            Run([program, "plugin", "uninstall", PLUGIN], [program, "plugin", "install", PLUGIN]),
            Run(
                [program, "plugin", "marketplace", "remove", MARKETPLACE],
                [program, "plugin", "marketplace", "add", self._copy()],
            ),
        ]

    def _copy_changes(self, wanted: dict[str, bytes]) -> list[Change]:
        """Return the changes that make the copy of the plugin the wanted one, and remove its other files."""
        present = [
            os.path.relpath(os.path.join(folder, name), self._copy())
            for folder, _, names in os.walk(self._copy())
            for name in names
        ]
        changes = []
        for name in sorted({*wanted, *present}):
            path = self._copy(name)
            before, after = files.read(path), wanted.get(name)
            if before != after:
                changes.append(Change(path, before, after, within=home(".raven"), is_own=True))
        return changes


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
