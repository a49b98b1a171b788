"""Output: messages, tables and units as text for a terminal, or as JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from raven.model.message import Message

_LINES_AT_ONCE = 1000
_URGENCY_COLOURS = {"blocking": "red", "prompt": None, "fyi": "bright_black"}


def escape(text: str) -> str:
    """Return a text with its unprintable characters escaped, so that no text can forge or recolour a line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def echo_json(value: Any) -> None:
    """Print one JSON text on one line, in ASCII."""
    click.echo(json.dumps(value, separators=(",", ":")))


def body_text(body: Any) -> str:
    """Return a body as JSON for display: not in ASCII, unprintable characters escaped."""
    return escape(json.dumps(body, ensure_ascii=False))


def echo_message(message: Message, as_json: bool = False) -> None:
    """Print a message as one line, and flush, so that a pipe gets it at once."""
    if as_json:
        echo_json(message.as_dict())
    else:
        click.echo(_line(message))
    sys.stdout.flush()


def echo_messages(
    messages: Sequence[Message], as_json: bool, marks: Callable[[Message], Mapping[str, object]] = lambda _: {}
) -> None:
    """Print messages, one line each; `marks` returns the `name=value` pairs at the end of a line."""
    if as_json:
        echo_json({"messages": [message.as_dict() for message in messages]})
        return
    for message in messages:
        pairs = "".join(f" {name}={escape(str(value))}" for name, value in marks(message).items())
        click.echo(_line(message) + pairs)
    if not messages:
        click.echo("(no messages)")


def echo_sent(message: Message) -> None:
    """Print the route of a message that was just sent."""
    route = f"{escape(message.sender)} -> {escape(message.recipient)}"
    repeated = " (already sent)" if message.duplicate else ""
    click.echo(f"sent #{message.id} {route} type={escape(message.type)}{repeated}")


def echo_details(message: Message) -> None:
    """Print all properties of a message, one per line."""
    click.echo(_line(message))
    for name, value in message.as_dict().items():
        if name not in ("id", "sender", "recipient", "body", "type") and value not in (None, []):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            click.echo(f"  {name}: {escape(text)}")


def format_count(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun: `1 message`, `2 messages`; `plural` if it is not the noun with an s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def echo_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns, each as wide as its widest cell."""
    cells = [list(headings), *([escape(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    lines[0] = click.style(lines[0], bold=True)
    for start in range(0, len(lines), _LINES_AT_ONCE):  # click flushes after each text
        click.echo("\n".join(lines[start : start + _LINES_AT_ONCE]))


def _line(message: Message) -> str:
    head = f"#{message.id} {escape(message.sender)} -> {escape(message.recipient)} type={escape(message.type)}"
    marks = "" if message.urgency == "prompt" else f" urgency={message.urgency}"
    if message.tags:
        marks += f" tags={escape(','.join(message.tags))}"
    coloured = click.style(head + marks, fg=_URGENCY_COLOURS[message.urgency], bold=message.urgency == "blocking")
    if message.truncated:
        return f"{coloured} (over 16 MiB: `raven read {message.id} --json` shows the body)"
    return f"{coloured} {body_text(message.body)}"


def format_duration(seconds: float | None) -> str:
    """Return a duration in its largest unit; returns "-" for None."""
    if seconds is None:
        return "-"
    for size_s, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size_s:
            return f"{seconds / size_s:.0f}{unit}"
    return f"{seconds:.1f}s" if seconds >= 1 else f"{1000 * seconds:.1f}ms"


def format_size(count: float) -> str:
    """Return a number of bytes in its largest binary unit."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:,.1f} {unit}"
    return f"{count / 1024:,.1f} TiB"


def format_rate(per_second: float) -> str:
    """Return a number of events per second; one event per minute is not rounded to 0."""
    return (
        f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}" if per_second >= 10 else f"{per_second:.2f}"
    )
