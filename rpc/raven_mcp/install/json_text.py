"""JSON text: changes of single members that leave every other byte of a file as its user wrote it.

A path is a tuple of names and list positions, from the root. A text with comments, with two members of one name, or
whose root is no object raises NotPlainError: nothing here guesses at it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Path = Sequence[str | int]
_BLANKS = re.compile(r"[ \t\n\r]*")
_INDENT = re.compile(r"\n([ \t]+)\S")


class NotPlainError(ValueError):
    """The text is no JSON object that can be changed safely; the message says why."""


class _Part(NamedTuple):
    """A member of an object or an item of a list: its key, where it and its value begin, and where it ends."""

    key: str | int
    start: int
    value: int
    end: int


def parse(text: str) -> dict[str, Any]:
    """Return the object that a text holds; an empty text holds an empty one. Raises NotPlainError."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except NotPlainError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "has comments" if _has_comments(text) else f"is not JSON: {error}"
        raise NotPlainError(reason) from None
    if not isinstance(value, dict):
        raise NotPlainError("holds no JSON object")
    return value


def put(text: str, path: Path, value: Any) -> str:
    """Return the text with the value at the path, in the place of an older one, or after the last of its container.

    Missing objects and lists on the way are made; the position `len(list)` appends an item.
    """
    if not text.strip():
        text = "{}\n"
    start, level = _skip(text, 0), 0
    for depth, key in enumerate(path):
        expected = "{" if isinstance(key, str) else "["
        if text[start] != expected:
            way = ".".join(map(str, path[:depth]))
            raise NotPlainError(f"has no {'object' if expected == '{' else 'list'} in the place of {way}")
        parts = list(_parts(text, start))
        part = next((one for one in parts if one.key == key), None)
        if part is None:
            return _insert(text, start, parts, key, _nested(path[depth + 1 :], value), level)
        start, level = part.value, level + 1
    style = _Style.of(text, is_single_line=False)
    return text[:start] + style.dump(value, level) + text[_end(text, start) :]


def remove(text: str, path: Path) -> str:
    """Return the text without the member or item at the path, and without the comma that parted it."""
    *way, last = path
    start = _skip(text, 0)
    for key in way:
        start = next(part.value for part in _parts(text, start) if part.key == key)
    parts = list(_parts(text, start))
    index = next(index for index, part in enumerate(parts) if part.key == last)
    if index:
        return text[: parts[index - 1].end] + text[parts[index].end :]
    if len(parts) > 1:
        return text[: parts[0].start] + text[parts[1].start :]
    return text[: start + 1] + text[_end(text, start) - 1 :]


class _Style(NamedTuple):
    """How a file sets its members: the blanks of one level, the end of a line, and whether all is on one line."""

    indent: str
    newline: str
    is_single_line: bool

    @classmethod
    def of(cls, text: str, *, is_single_line: bool) -> _Style:
        found = _INDENT.search(text)
        return cls(found[1] if found else "  ", "\r\n" if "\r\n" in text else "\n", is_single_line)

    def dump(self, value: Any, level: int) -> str:
        if self.is_single_line:
            return json.dumps(value, ensure_ascii=False)
        lines = json.dumps(value, ensure_ascii=False, indent=self.indent).split("\n")
        return (self.newline + self.indent * level).join(lines)

    def line(self, level: int) -> str:
        return " " if self.is_single_line else self.newline + self.indent * level


def _insert(text: str, start: int, parts: list[_Part], key: str | int, value: Any, level: int) -> str:
    end = _end(text, start)
    # A container of several members on one line stays on it.
    style = _Style.of(text, is_single_line=bool(parts) and "\n" not in text[start:end])
    name = f"{json.dumps(key, ensure_ascii=False)}: " if isinstance(key, str) else ""
    member = name + style.dump(value, level + 1)
    if parts:
        place = parts[-1].end
        return f"{text[:place]},{style.line(level + 1)}{member}{text[place:]}"
    return f"{text[: start + 1]}{style.line(level + 1)}{member}{style.line(level)}{text[end - 1 :]}"


def _nested(path: Path, value: Any) -> Any:
    for key in reversed(path):
        value = {key: value} if isinstance(key, str) else [value]
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotPlainError(f"has two members of the name {twice[:40]}")
    return members


def _has_comments(text: str) -> bool:
    """Whether a text that is no JSON has the sign of a comment outside of its strings."""
    return re.search(r"//|/\*", re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', text)) is not None


def _skip(text: str, index: int) -> int:
    match = _BLANKS.match(text, index)
    return match.end() if match else index


def _parts(text: str, start: int) -> Iterator[_Part]:
    """Yield the parts of the object or list that begins at `start`."""
    is_object = text[start] == "{"
    index, count = _skip(text, start + 1), 0
    while text[index] not in "}]":
        begin, key = index, count
        if is_object:
            key, index = json.JSONDecoder().raw_decode(text, begin)
            index = _skip(text, _skip(text, index) + 1)  # over the colon
        end = _end(text, index)
        yield _Part(key, begin, index, end)
        count += 1
        index = _skip(text, end)
        if text[index] == ",":
            index = _skip(text, index + 1)


def _end(text: str, start: int) -> int:
    """Return the index after the value that begins at `start`."""
    return json.JSONDecoder().raw_decode(text, start)[1]
