"""Document: a configuration file in JSON, with the entries of raven put in or taken out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from raven_mcp.install import entries, files, json_text
from raven_mcp.install.files import BACKUP, Change, RefusedError

Path = Sequence[str | int]
_CONTAINERS = ("mcpServers", "mcp", "hooks", "permissions", "enabledPlugins", "extraKnownMarketplaces")


class Document:
    """The text of a configuration file while raven's entries are changed in it; `change` then makes the step.

    `wanted` are the members that the file shall get, and None if raven's entries shall go. A file that is no plain JSON
    is never changed: RefusedError then shows them, for the user to write by hand.

    When the entries go, a file that has nothing else was made for them and goes, too: also if `frame` is left. A file
    that says the same as the copy that raven made of it becomes that copy, which goes unless `keeps_copy`. `is_cleanup`
    lets the host's program have removed the entries before.
    """

    def __init__(
        self,
        path: str,
        wanted: Mapping[str, Any] | None,
        *,
        within: str = "",
        mode: int = 0o600,
        frame: Mapping[str, Any] | None = None,
        keeps_copy: bool = False,
        is_cleanup: bool = False,
    ) -> None:
        self.path, self._within, self._mode, self._frame = path, within, mode, frame or {}
        self._wanted = wanted
        self._before = files.read(path)
        self._keeps_copy = keeps_copy
        self._had_entries = is_cleanup
        try:
            self._text = (self._before or b"").decode()
            self._root = json_text.parse(self._text)
        except (UnicodeDecodeError, json_text.NotPlainError) as error:
            if wanted is None and b"raven" not in (self._before or b""):
                self._text, self._root = "", {}
                return
            reason = "is not in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise self._refusal(reason) from None

    def get(self, path: Path) -> Any:
        """Return the value at a path of names, None if there is none."""
        value: Any = self._root
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def put(self, path: Path, value: Any) -> None:
        """Put a value at a path."""
        self._edit(json_text.put, path, value)

    def remove(self, path: Path) -> None:
        """Remove the value at a path, and each object and list on the way that then is empty."""
        self._had_entries = True
        self._edit(json_text.remove, path)
        above = path[:-1]
        if above and not self._value(above):
            self.remove(above)

    def put_server(self, path: Path, entry: dict[str, Any] | None) -> None:
        """Put the entry of the server at a path; None removes it.

        Raises RefusedError if the entry of another program has that name; such an entry is never removed.
        """
        old = self.get(path)
        is_ours = entries.is_server(old)
        self._had_entries |= is_ours
        if entry is None:
            if is_ours:
                self.remove(path)
        elif old is not None and not is_ours:
            raise RefusedError(f"the server {path[-1]} in {self.path} is another program's: give that another name")
        elif entry != old:
            self.put(path, entry)

    def put_hooks(self, path: Path, wanted: Mapping[str, Any], frame: Mapping[str, Any]) -> None:
        """Let raven's hooks at a path be the wanted ones, one item for each event; other hooks keep their places.

        With hooks, the file also gets the members of `frame` that it lacks.
        """
        for key, value in frame.items() if wanted else ():
            if self.get((key,)) is None:
                self.put((key,), value)
        ours: dict[str, list[tuple[int, int | None]]] = {}
        for event, index, handler in entries.hook_places(self.get(path)):
            ours.setdefault(event, []).append((index, handler))
        self._had_entries |= bool(ours)
        for event, item in wanted.items():
            places = ours.pop(event, [])
            if len(places) == 1 and places[0][1] is None:
                if self._value((*path, event, places[0][0])) != item:
                    self.put((*path, event, places[0][0]), item)
                continue
            self._remove_hooks(path, event, places)
            items = self.get((*path, event))
            self.put((*path, event, len(items) if isinstance(items, list) else 0), item)
        for event, places in ours.items():
            self._remove_hooks(path, event, places)

    def put_word(self, path: Path, word: str) -> None:
        """Add a word to the list at a path if it lacks it."""
        words = self.get(path)
        if not isinstance(words, list) or word not in words:
            self.put((*path, len(words) if isinstance(words, list) else 0), word)

    def remove_word(self, path: Path, word: str) -> None:
        """Remove a word from the list at a path."""
        words = self.get(path)
        if isinstance(words, list) and word in words:
            self.remove((*path, words.index(word)))

    def change(self) -> Change | None:
        """Return the step that writes the file; None if it stays as it is."""
        backup = files.read(self.path + BACKUP)
        after: bytes | None = self._text.encode()
        if self._wanted is not None:
            copy = None if self._had_entries else self._before
            return None if after == (self._before or b"") else self._step(after, backup=copy)
        if not self._had_entries and (backup is None or self._keeps_copy):
            return None
        if backup is not None and self._says_the_same(backup):
            after = backup
        elif backup is None and not self._essence(self._root):
            after = None
        elif not self._had_entries:
            after = self._before
        drops_backup = backup is not None and not self._keeps_copy
        return self._step(after, drops_backup=drops_backup) if after != self._before or drops_backup else None

    def _step(self, after: bytes | None, **options: Any) -> Change:
        return Change(self.path, self._before, after, mode=self._mode, within=self._within, **options)

    def _says_the_same(self, backup: bytes) -> bool:
        try:
            return self._essence(json_text.parse(backup.decode())) == self._essence(self._root)
        except (UnicodeDecodeError, json_text.NotPlainError):
            return False

    def _essence(self, root: dict[str, Any]) -> dict[str, Any]:
        """Return the members of a file without the frame, and without empty containers for entries such as raven's."""
        kept = {key: _filled(value) if key in _CONTAINERS else value for key, value in root.items()}
        return {
            key: value
            for key, value in kept.items()
            if not (key in _CONTAINERS and value in ({}, [])) and (key, value) not in self._frame.items()
        }

    def _remove_hooks(self, path: Path, event: str, places: list[tuple[int, int | None]]) -> None:
        for index, handler in places:
            self.remove((*path, event, index) if handler is None else (*path, event, index, "hooks", handler))

    def _value(self, path: Path) -> Any:
        value: Any = self._root
        for key in path:
            value = value[key]
        return value

    def _edit(self, edit: Any, *given: Any) -> None:
        try:
            self._text = edit(self._text, *given)
            self._root = json_text.parse(self._text)
        except json_text.NotPlainError as error:
            raise self._refusal(str(error)) from None

    def _refusal(self, reason: str) -> RefusedError:
        if self._wanted is None:
            return RefusedError(f"{self.path} {reason}, so it was left alone: remove the entries of raven by hand")
        snippet = json.dumps(self._wanted, indent=2, ensure_ascii=False)
        return RefusedError(f"{self.path} {reason}, so it was left alone: write this into it by hand", snippet)


def _filled(value: Any) -> Any:
    """Return a value without the empty objects and lists in it."""
    if isinstance(value, dict):
        return {key: inner for key, member in value.items() if (inner := _filled(member)) not in ({}, [])}
    if isinstance(value, list):
        return [inner for item in value if (inner := _filled(item)) not in ({}, [])]
    return value
