"""Host: a program that runs coding agents, and the files by which it learns of an MCP server and of hooks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from raven_mcp.install import entries
from raven_mcp.install.document import Document
from raven_mcp.install.entries import Program
from raven_mcp.install.files import Change, FailedError, RefusedError, Step
from raven_mcp.install.plan import Order, Plan

SCOPES = ("user", "project")


class Place(NamedTuple):
    """A file, and the names that lead to a member of it."""

    path: str
    keys: tuple[str, ...]


class Layout(NamedTuple):
    """Where the server and the hooks stand in one scope; with an emptied folder go those above it, up to `within`."""

    server: Place
    hooks: Place | None
    within: str = ""


class Installed(NamedTuple):
    """The installation that a host has in one scope: where, the server's command, whether with hooks, a problem."""

    scope: str
    where: str
    server: tuple[str, ...] = ()
    has_hooks: bool = False
    problem: str = ""


class Host:
    """A host whose configuration is JSON files; its subclasses say which, and hosts of other kinds override `steps`."""

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]
    # Members that a file has if raven made it, besides raven's own.
    frame: ClassVar[Mapping[str, Any]] = {}

    def folder(self) -> str:
        """Return the folder of the host in the home of the user."""
        raise NotImplementedError

    def layout(self, scope: str) -> Layout:
        """Return where the entries stand in a scope."""
        raise NotImplementedError

    def hooks(self, program: Program) -> dict[str, Any]:
        """Return the item for each event that raven hears of."""
        raise NotImplementedError

    def entry(self, program: Program, old: Any = None) -> dict[str, Any]:
        """Return the entry of the server, with the user's additions to an older one."""
        return entries.server_entry(program, old)

    def program(self) -> str | None:
        """Return the path of the host's program, None if it is not on PATH."""
        return next(filter(None, map(shutil.which, self.programs)), None)

    def is_found(self) -> bool:
        """Whether the host is on this machine, as a program or by its folder."""
        return self.program() is not None or os.path.isdir(self.folder())

    def notes(self, order: Order) -> list[str]:
        """Return words for the user after an installation."""
        return []

    def has_untrusted_hooks(self) -> bool:
        """Whether the host is known not to run raven's hooks, since the user has not trusted them."""
        return False

    def plan(self, order: Order) -> Plan:
        """Return the steps that make the configuration the wanted one; raises RefusedError, and OSError."""
        if order.is_uninstall:
            return Plan(self.name, self.steps(order))
        if order.scope == "user" and not self.is_found():
            names = " or ".join(f"`{name}`" for name in self.programs)
            raise RefusedError(f"this machine has no {self.name}: neither {names} on PATH nor {self.folder()}")
        return Plan(self.name, self.steps(order), lambda: self.server(order.scope), self.notes(order))

    def server(self, scope: str) -> tuple[str, ...]:
        """Return the command of the installed server."""
        installed = self.installed(scope)
        if installed is None or not installed.server:
            raise FailedError(f"{self.name} does not show the server that was just installed")
        return installed.server

    def steps(self, order: Order) -> list[Step]:
        """Return the steps alone."""
        return list(self.changes(order, self.layout(order.scope)))

    def stands_in_files(self, order: Order) -> bool:
        """Whether an installation writes its entries into the files of the layout."""
        return True

    def allowance(self, order: Order) -> tuple[Place, Sequence[str]] | None:
        """Return the list of tools that need no approval, and the words for raven's in it, the one to add first."""
        return None

    def changes(self, order: Order, layout: Layout, *, is_cleanup: bool = False) -> list[Change]:
        """Return the changes of the files of a layout; `is_cleanup` after the host's program has made its own."""
        is_direct = not order.is_uninstall and self.stands_in_files(order)
        hooks = self.hooks(order.program) if is_direct and order.hooks else {}
        allowance = self.allowance(order)
        wanted: dict[str, dict[str, Any]] = {}
        if is_direct:
            _nest(wanted, layout.server, self.entry(order.program))
        if hooks and layout.hooks is not None:
            wanted.setdefault(layout.hooks.path, {}).update(self.frame)
            _nest(wanted, layout.hooks, {event: [item] for event, item in hooks.items()})
        if allowance is not None and order.allow and not order.is_uninstall:
            _nest(wanted, allowance[0], [allowance[1][0]])
        mode = 0o600 if order.scope == "user" else 0o666
        documents = {
            path: Document(
                path,
                wanted.get(path),
                within=layout.within,
                mode=mode,
                frame=self.frame,
                keeps_copy=not order.is_uninstall,
                is_cleanup=is_cleanup,
            )
            for path in dict.fromkeys(place.path for place in (layout.server, layout.hooks) if place is not None)
        }
        document = documents[layout.server.path]
        entry = self.entry(order.program, document.get(layout.server.keys)) if is_direct else None
        document.put_server(layout.server.keys, entry)
        if layout.hooks is not None:
            document = documents[layout.hooks.path]
            for key, value in self.frame.items() if hooks else ():
                if document.get((key,)) is None:
                    document.put((key,), value)
            document.put_hooks(layout.hooks.keys, hooks)
        if allowance is not None:
            place, words = allowance
            for word in words if order.is_uninstall else ():
                documents[place.path].remove_word(place.keys, word)
            if order.allow and not order.is_uninstall:
                documents[place.path].put_word(place.keys, words[0])
        return [change for document in documents.values() if (change := document.change()) is not None]

    def installed(self, scope: str) -> Installed | None:
        """Return the installation in a scope, None if there is none; raises OSError."""
        layout = self.layout(scope)
        try:
            entry = Document(layout.server.path, None).get(layout.server.keys)
            hooks = layout.hooks and Document(layout.hooks.path, None).get(layout.hooks.keys)
        except RefusedError as error:
            return Installed(scope, layout.server.path, problem=str(error))
        has_hooks = next(entries.hook_places(hooks), None) is not None
        if not entries.is_server(entry):
            if not has_hooks or layout.hooks is None:
                return None
            return Installed(
                scope, layout.hooks.path, (), True, f"{layout.server.path} has hooks of raven, but no server"
            )
        return Installed(scope, layout.server.path, command_of(entry), has_hooks)


def command_of(entry: Any) -> tuple[str, ...]:
    """Return the command of a server's entry, in the form of most hosts or of opencode."""
    command, args = entry.get("command"), entry.get("args")
    return tuple(command) if isinstance(command, list) else (command, *(args if isinstance(args, list) else ()))


def _nest(wanted: dict[str, dict[str, Any]], place: Place, value: Any) -> None:
    """Put a value at its place in the dictionaries of the wanted files."""
    *keys, last = place.keys
    into = wanted.setdefault(place.path, {})
    for key in keys:
        into = into.setdefault(key, {})
    into[last] = value


def home(*parts: str) -> str:
    """Return a path in the home of the user."""
    return os.path.join(os.path.expanduser("~"), *parts)


def own_folder(scope: str, folder: str) -> str:
    """Return the folder of a host that goes when it is empty: that of a project, which no program made but raven."""
    return folder if scope == "project" else ""
