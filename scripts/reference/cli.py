"""docs/cli.md: every command of `raven`, from its help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from raven.cli.app import COMMANDS, GROUPS, cli
from raven.cli.command import Documented
from raven.cli.exit_codes import EXIT_CODES, MEANINGS
from scripts.reference.markdown import NOTE, anchor, escape, fenced, table

_PURPOSES = {
    "Talk": "Send messages and read your own mail.",
    "Work": "Process messages: receive, lease, finish, retry.",
    "Look": "Read any message and figure on the bus, without changing it.",
    "Care": "Set up, check and clean a bus; serve it to other programs.",
    "Agents": "Connect coding agents with the bus.",
}
# Options that most commands have, with the same meaning; they stand once, in a table of their own.
_COMMON = ("--json", "--socket", "--db", "--help")


def render(current: str) -> str:
    """Return the page."""
    context = click.Context(cli, info_name="raven")
    parts = ["# The command line\n", NOTE, _paragraphs(cli), _contents(), _exit_codes(), _common(context)]
    for group, names in GROUPS.items():
        parts.append(f"## {group}\n")
        parts.append(f"{_PURPOSES[group]}\n")
        for name in names:
            parts += _command(_get(cli, context, name), click.Context(_get(cli, context, name), context, name))
    return "\n".join(parts)


def _get(group: click.Group, context: click.Context, name: str) -> click.Command:
    command = group.get_command(context, name)
    if command is None:
        raise LookupError(f"there is no command {name!r}")
    return command


def _paragraphs(command: click.Command) -> str:
    """Return the help of a command, one line per paragraph."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    return "\n\n".join(escape(" ".join(paragraph.split())) for paragraph in paragraphs) + "\n"


def _contents() -> str:
    rows = [
        (f"[{group}](#{anchor(group)})", ", ".join(f"[`{name}`](#{anchor(f'raven {name}')})" for name in names))
        for group, names in GROUPS.items()
    ]
    return table(("Group", "Commands"), rows)


def _exit_codes() -> str:
    rows = []
    for code, meaning in MEANINGS.items():
        errors = [f"`{error.__name__}`" for error, own in EXIT_CODES.items() if own == code]
        rows.append((str(code), escape(meaning), ", ".join(errors)))
    text = (
        "An error is one line `error: ...` on stderr. Its exit code is the code of its nearest base class in "
        "this table; [python.md](python.md#errors) draws the tree.\n"
    )
    return f"## Exit codes\n\n{text}\n{table(('Code', 'Meaning', 'Errors'), rows)}"


def _common(context: click.Context) -> str:
    send = _get(cli, context, "send")
    rows = [row for option in send.params if (row := _row(option, click.Context(send, context, "send")))]
    return f"## Common options\n\n{table(('Option', 'Value', 'Meaning'), [row for row in rows if _is_common(row[0])])}"


def _is_common(names: str) -> bool:
    return any(f"`{name}`" in names for name in _COMMON)


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    path = context.command_path
    yield f"### {path}\n"
    yield _paragraphs(command)
    yield fenced("sh", f"{path} {' '.join(command.collect_usage_pieces(context))}")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            subcommand = _get(command, context, name)
            yield from _command(subcommand, click.Context(subcommand, context, name))
        return
    rows = [row for param in command.params if (row := _row(param, context))]
    if own := [row for row in rows if not _is_common(row[0]) or (command.name, row[0]) == ("init", "`--db`")]:
        yield table(("Option", "Value", "Meaning"), own)
    if common := [name for name in _COMMON[:-1] if any(f"`{name}`" in row[0] for row in rows if row not in own)]:
        yield f"Common options: {', '.join(f'`{name}`' for name in common)}.\n"
    assert isinstance(command, Documented)
    if command.exit_codes:
        yield table(("Exit code", "When"), [(str(code), escape(text)) for code, text in command.exit_codes.items()])
    yield "Example:\n"
    yield fenced("sh", command.example)


def _row(param: click.Parameter, context: click.Context) -> tuple[str, str, str] | None:
    """Return the row of an option in its table; returns None for an argument or a hidden option."""
    if not isinstance(param, click.Option) or param.hidden:
        return None
    names = ", ".join(f"`{name}`" for name in param.opts)
    notes = escape(param.help or "")
    if param.required:
        notes += " Required."
    elif param.show_default and not param.is_flag:
        notes += f" Default: `{param.default}`."
    return names, "" if param.is_flag else _value(param, context), notes.strip()


def _value(param: click.Option, context: click.Context) -> str:
    """Return the kind of value that an option takes, and its bounds."""
    if isinstance(param.type, click.Choice):
        return " or ".join(f"`{choice}`" for choice in param.type.choices)
    name = param.metavar or {"integer": "N", "integer range": "N", "text": "TEXT", "filename": "FILE"}.get(
        param.type.name, param.type.name.upper()
    )
    least = param.type.min if isinstance(param.type, click.IntRange) else None
    return f"`{name}`" + ("" if least is None or param.name == "lease" else f", at least {least:,g}")


assert set(_PURPOSES) == set(GROUPS)
assert len(COMMANDS) == sum(map(len, GROUPS.values()))
