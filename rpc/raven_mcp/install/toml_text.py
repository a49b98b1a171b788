"""TOML text: the table of raven's server in the configuration of Codex, with every other byte as it was.

Each change is parsed before it counts: it must have changed that table alone. Otherwise NotPlainError is raised.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from raven_mcp.install.json_text import NotPlainError

_HEADER = re.compile(r"^[ \t]*\[+[ \t]*(?P<name>[^\]\n]*?)[ \t]*\]+[ \t]*(?:#.*)?$", re.MULTILINE)
_OURS = re.compile(r"""mcp_servers\s*\.\s*["']?raven["']?(?:\s*\.|$)""")
BEGIN, END = "# >>> raven >>>", "# <<< raven <<<"


def parse(text: str) -> dict[str, Any]:
    """Return the content of a text; raises NotPlainError if it is no TOML."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise NotPlainError(f"is not TOML: {error}") from None


def server_of(text: str) -> Any:
    """Return the table of the server `raven`, None if there is none."""
    servers = parse(text).get("mcp_servers")
    return servers.get("raven") if isinstance(servers, dict) else None


def block(command: str, args: list[str]) -> str:
    """Return the table of the server as text, between its marks."""
    return f"{BEGIN}\n[mcp_servers.raven]\ncommand = {_literal(command)}\nargs = {_literal(args)}\n{END}\n"


def append(text: str, command: str, args: list[str]) -> str:
    """Return the text with the table of the server at its end."""
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return _checked(text, text + gap + block(command, args), {"command": command, "args": args})


def with_command(text: str, command: str, args: list[str]) -> str:
    """Return the text with another command, and other arguments, in the table of the server that it has."""
    old = server_of(text)
    start, end = _span(text)
    table = text[start:end]
    table = _line("command").sub(lambda line: line[1] + _literal(command), table, count=1)
    table = _line("args").sub(lambda line: line[1] + _literal(args), table, count=1)
    return _checked(text, text[:start] + table + text[end:], {**old, "command": command, "args": args})


def without(text: str) -> str:
    """Return the text without the table of the server, its marks, and the blank line before it."""
    start, end = _span(text)
    head, tail = text[:start], text[end:]
    if head.endswith(f"{BEGIN}\n") and tail.startswith(f"{END}\n"):
        head, tail = head.removesuffix(f"{BEGIN}\n"), tail.removeprefix(f"{END}\n")
    if head.endswith("\n\n") or head == "\n":
        head = head[:-1]
    elif not head:
        tail = tail.removeprefix("\n")
    return _checked(text, head + tail, None)


def same(one: str, other: str) -> bool:
    """Whether two texts have the same content and differ in blanks only."""
    try:
        return one.split() == other.split() and parse(one) == parse(other)
    except NotPlainError:
        return False


def _literal(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _line(key: str) -> re.Pattern[str]:
    return re.compile(rf"^([ \t]*{key}[ \t]*=[ \t]*).*$", re.MULTILINE)


def _span(text: str) -> tuple[int, int]:
    """Return where the table of the server begins and ends, with the tables below it."""
    headers = list(_HEADER.finditer(text))
    ours = [index for index, header in enumerate(headers) if _OURS.match(header["name"])]
    if not ours or ours[-1] - ours[0] + 1 != len(ours):
        raise NotPlainError("has no table [mcp_servers.raven] in one place")
    start = headers[ours[0]].start()
    end = headers[ours[-1] + 1].start() if ours[-1] + 1 < len(headers) else len(text)
    mark = text.find(f"\n{END}\n", start, end)
    if mark >= 0:
        return start, mark + 1
    # Blank lines and comments before the next table belong to that.
    lines = text[start:end].splitlines(keepends=True)
    while lines[-1].strip() == "" or lines[-1].lstrip().startswith("#"):
        end -= len(lines.pop())
    return start, end


def _checked(before: str, after: str, wanted: Any) -> str:
    """Return `after` if it differs from `before` in nothing but the table of the server, which is the wanted one."""
    old, new = parse(before), parse(after)
    for content in (old, new):
        servers = content.get("mcp_servers")
        table = servers.pop("raven", None) if isinstance(servers, dict) else None
        if servers == {}:
            del content["mcp_servers"]
        if content is new and table != wanted:
            raise NotPlainError("has another form than raven knows how to change")
    if old != new:
        raise NotPlainError("has another form than raven knows how to change")
    return after
