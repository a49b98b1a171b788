"""Content: the options that say what is sent, for all commands that send."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, BinaryIO

import click

from raven.cli.options import DURATION
from raven.errors import BodyError
from raven.model import body as bodies
from raven.model.message import URGENCIES

_OPTIONS = (
    click.option("-t", "--type", metavar="TYPE", required=True, help="What kind of message it is."),
    click.option("--body", metavar="JSON", help="Body as JSON (default: {})."),
    click.option("--body-file", type=click.File("rb"), help="File that holds the body as JSON; - is stdin."),
    click.option("--urgency", type=click.Choice(URGENCIES), default="prompt", show_default=True),
    click.option("--tag", "tags", multiple=True, help="A tag; may be given several times."),
    click.option("--correlation-id", metavar="TEXT", help="The conversation that this belongs to."),
    click.option("--task-id", metavar="TEXT", help="The task that this belongs to."),
    click.option("--delay", "delay_s", type=DURATION, help="Hold it back that long."),
    click.option(
        "--max-attempts",
        type=click.IntRange(min=1),
        metavar="N",
        help="Dead after so many attempts (else as in raven.yaml).",
    ),
    click.option("--report", is_flag=True, help="Tell the sender of each recipient for whom it dies or expires."),
)
_EXPIRES_IN = click.option(
    "--expires-in", "expires_in_s", type=DURATION, help="Drop it if it is not taken by then (30s, 5m, 2h)."
)
_DEDUP_KEY = click.option("--dedup-key", metavar="TEXT", help="Send nothing if this sender has used the key before.")
REPLY_TO = click.option("--reply-to", type=int, metavar="ID", help="The message that this one answers.")

Command = Callable[..., Any]


def content_options(*, lasting: bool) -> Callable[[Command], Command]:
    """Add what can be said of a message; the command gets it as keyword arguments of `send`, those that were given.

    What is `lasting` may be given a time to live and a key of its own.
    """

    def add(command: Command) -> Command:
        @wraps(command)
        def gathered(*, body: str | None, body_file: BinaryIO | None, report: bool, **given: Any) -> Any:
            given["report"] = "undelivered" if report else None
            content = {name: value for name, value in given.items() if name in _NAMES and value is not None}
            rest = {name: value for name, value in given.items() if name not in _NAMES}
            return command(content={**content, "body": _read(body, body_file)}, **rest)

        for option in reversed((*_OPTIONS, *((_EXPIRES_IN, _DEDUP_KEY) if lasting else ()))):
            gathered = option(gathered)
        return gathered

    return add


_NAMES = frozenset({
    "type", "urgency", "tags", "correlation_id", "reply_to", "task_id", "expires_in_s", "delay_s", "dedup_key",
    "report", "max_attempts",
})  # fmt: skip


def _read(text: str | None, file: BinaryIO | None) -> Any:
    if text is not None and file is not None:
        raise click.UsageError("--body and --body-file exclude each other: give one of them")
    if file is not None:
        try:
            text = file.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise BodyError(f"body file {file.name} is not UTF-8: {error}") from None
    return {} if text is None else bodies.parse(text)
