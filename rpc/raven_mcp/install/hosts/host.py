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

    def changes(
        self, order: Order, layout: Layout, *, has_server: bool = True, is_cleanup: bool = False
    ) -> list[Change]:
        """Return the changes of the JSON files of a layout, with the server's entry unless `has_server` is False.

        `is_cleanup` says that the host's program has made its own changes before.
        """
        is_direct = not order.is_uninstall and self.stands_in_files(order)
        hooks = self.hooks(order.program) if is_direct and order.hooks else {}
        server = layout.server if has_server else None
        wanted = self._wanted(order, server if is_direct else None, layout.hooks, hooks)
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
            for path in dict.fromkeys(place.path for place in (server, layout.hooks) if place is not None)
        }
        if server is not None:
            document = documents[server.path]
            entry = self.entry(order.program, document.get(server.keys)) if is_direct else None
            document.put_server(server.keys, entry)
        if layout.hooks is not None:
            documents[layout.hooks.path].put_hooks(layout.hooks.keys, hooks, self.frame)
        self._allow(order, documents)
        return [change for document in documents.values() if (change := document.change()) is not None]

    def _wanted(
        self, order: Order, server: Place | None, hooks_place: Place | None, hooks: dict[str, Any]
    ) -> dict[str, dict[str, Any]]:
        """Return the members that each file shall get: the text for a user whose file cannot be changed."""
        wanted: dict[str, dict[str, Any]] = {}
        if server is not None:
            _nest(wanted, server, self.entry(order.program))
        if hooks and hooks_place is not None:
            wanted.setdefault(hooks_place.path, {}).update(self.frame)
            _nest(wanted, hooks_place, {event: [item] for event, item in hooks.items()})
        allowance = self.allowance(order)
        if allowance is not None and order.allow and not order.is_uninstall:
            _nest(wanted, allowance[0], [allowance[1][0]])
        return wanted

    def _allow(self, order: Order, documents: dict[str, Document]) -> None:
        """Add raven's tools to the list of those that need no approval, if the user wants it, or take them out."""
        allowance = self.allowance(order)
        if allowance is None:
            return
        (path, keys), words = allowance
        if order.is_uninstall:
            for word in words:
                documents[path].remove_word(keys, word)
        elif order.allow:
            documents[path].put_word(keys, words[0])

    def installed(self, scope: str) -> Installed | None:
        """Return the installation in a scope, None if there is none; raises OSError."""
        layout = self.layout(scope)
        try:
            entry = self.read_server(layout.server)
            hooks = layout.hooks and Document(layout.hooks.path, None).get(layout.hooks.keys)
        except RefusedError as error:
            return Installed(scope, layout.server.path, problem=str(error))
        has_hooks = next(entries.hook_places(hooks), None) is not None
        if entries.is_server(entry):
            return Installed(scope, layout.server.path, command_of(entry), has_hooks)
        if not has_hooks or layout.hooks is None:
            return None
        problem = f"{layout.hooks.path} has hooks of raven, but {layout.server.path} no server"
        return Installed(scope, layout.hooks.path, (), True, problem)

    def read_server(self, place: Place) -> Any:
        """Return the entry at the place of the server; raises RefusedError if its file cannot be read as it is."""
        return Document(place.path, None).get(place.keys)


def command_of(entry: Any) -> tuple[str, ...]:
    """Return the command of a server's entry, in the form of most hosts or of opencode."""
    return tuple(entries.words(entry.get("command")) + entries.words(entry.get("args")))


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
