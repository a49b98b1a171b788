"""Entries: the lines that raven writes into the configuration of a host, and how it knows them again.

An entry is raven's if it names the server or a hook of raven, whatever else a user has added to it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

SERVER = "raven"
PLUGIN = "raven@raven-bus"
MARKETPLACE = "raven-bus"
PLUGIN_SERVER = "plugin:raven:bus"
HOOK_TOOL = "hook"
HOOK_TIMEOUT_S = 5
# Whether a turn goes on already because of a hook.
ACTIVE = {"active": "${stop_hook_active}"}
_SHELL_HOOK = re.compile(r"(?:^|[\s/'\"])raven['\"]? hook(?:\s|$)")


class Program(NamedTuple):
    """The command `raven` as the host has to call it, and the options that the user gave for the server."""

    path: str
    options: tuple[str, ...] = ()

    def server_args(self) -> list[str]:
        """Return the arguments that start the MCP server."""
        return ["mcp", *self.options]

    def hook_args(self, kind: str, host: str) -> list[str]:
        """Return the arguments that answer a hook."""
        return ["hook", kind, "--host", host, *self.options]

    def hook_line(self, kind: str, host: str, *, if_flag: bool = False) -> str:
        """Return the same as a line for a shell; with `if_flag`, it runs only while mail waits for the shell's parent.

        The flag file has the name of the process that runs both the shell and the server.
        """
        line = shlex.join([self.path, *self.hook_args(kind, host)])
        return f'[ ! -e "$HOME/.raven/flags/$PPID" ] || exec {line}' if if_flag else line


def is_server(entry: Any) -> bool:
    """Whether the entry of an MCP server starts raven's: also through a program such as `uvx`."""
    if not isinstance(entry, dict):
        return False
    command = words(entry.get("command"))
    line = command + words(entry.get("args"))
    return bool(command) and "mcp" in line and any(os.path.basename(word) == "raven" for word in line)


def is_hook(handler: Any) -> bool:
    """Whether one handler of a hook calls raven: the tool of its server, or its command."""
    if not isinstance(handler, dict):
        return False
    if handler.get("type") == "mcp_tool":
        return handler.get("tool") == HOOK_TOOL and handler.get("server") in (SERVER, PLUGIN_SERVER)
    command, args = handler.get("command"), handler.get("args")
    if not isinstance(command, str):
        return False
    if isinstance(args, list) and args[:1] == ["hook"]:
        return os.path.basename(command) == "raven"
    return _SHELL_HOOK.search(command) is not None


def server_entry(program: Program, old: Any = None, **more: Any) -> dict[str, Any]:
    """Return the entry of the server; of an older one everything stays that the user may have added.

    An entry that starts raven through another program is the user's own, and stays as it is.
    """
    if is_server(old) and isinstance(old.get("command"), str):
        if os.path.basename(old["command"]) != "raven":
            return dict(old)
        args = old.get("args")
        keeps_args = not program.options and isinstance(args, list) and args[:1] == ["mcp"]
        return {**old, "command": program.path, "args": args if keeps_args else program.server_args()}
    return {**more, "command": program.path, "args": program.server_args()}


def tool_hook(server: str, **more: str) -> dict[str, Any]:
    """Return a handler that calls the hidden tool of the connected server; the host fills in the `${...}`.

    `more` are the further arguments that the host has values for: Codex fails the hook if it lacks one.
    """
    given = {"event": "${hook_event_name}", "session": "${session_id}", **more}
    return {"type": "mcp_tool", "server": server, "tool": HOOK_TOOL, "input": given, "timeout": HOOK_TIMEOUT_S}


def hook_places(hooks: Any) -> Iterator[tuple[str, int, int | None]]:
    """Yield where hooks of raven stand: their event, the item of its list, and the handler inside of the item.

    The handler is None if the whole item is raven's. Of one list the last comes first, so that each can be removed.
    """
    if not isinstance(hooks, Mapping):
        return
    for event, items in hooks.items():
        for index, item in reversed(list(enumerate(items if isinstance(items, Sequence) else ()))):
            handlers = item.get("hooks") if isinstance(item, dict) else None
            if not isinstance(handlers, list):
                if is_hook(item):
                    yield event, index, None
                continue
            ours = [place for place, handler in enumerate(handlers) if is_hook(handler)]
            if ours and len(ours) == len(handlers):
                yield event, index, None
            else:
                yield from ((event, index, place) for place in reversed(ours))


def words(value: Any) -> list[str]:
    """Return the words of a command: of one text, or of a list."""
    return [word for word in (value if isinstance(value, list) else [value]) if isinstance(word, str)]
