"""`raven send`."""

from __future__ import annotations

from typing import Any, BinaryIO

import click

from raven import body as bodies
from raven.cli.options import ADDRESS, DURATION, bus_option, json_option, open_client
from raven.cli.output import echo_json, escape
from raven.errors import BodyError
from raven.message import URGENCIES


@click.command(short_help="Send a message.")
@click.option("--from", "sender", type=ADDRESS, required=True, help="Sender, <role>:<session>.")
@click.option(
    "--to", type=ADDRESS, required=True, multiple=True, help="Address or pattern; may be given several times."
)
@click.option("-t", "--type", "type_", metavar="TYPE", required=True, help="What kind of message it is.")
@click.option("--body", metavar="JSON", help="Body as JSON (default: {}).")
@click.option("--body-file", type=click.File("rb"), help="File that holds the body as JSON; - is stdin.")
@click.option("--urgency", type=click.Choice(URGENCIES), default="prompt", show_default=True)
@click.option("--tag", "tags", multiple=True, help="A tag; may be given several times.")
@click.option("--reply-to", type=int, metavar="ID", help="The message that this one answers.")
@click.option("--correlation-id", metavar="TEXT", help="The conversation that this belongs to.")
@click.option("--task-id", metavar="TEXT", help="The task that this belongs to.")
@click.option("--expires-in", type=DURATION, help="Drop it if it is not taken by then (30s, 5m, 2h).")
@click.option("--delay", type=DURATION, help="Hold it back that long.")
@click.option("--dedup-key", metavar="TEXT", help="Send nothing if this sender has used the key before.")
@json_option
@bus_option
def send(
    sender: str,
    to: tuple[str, ...],
    type_: str,
    body: str | None,
    body_file: BinaryIO | None,
    expires_in: float | None,
    delay: float | None,
    as_json: bool,
    db: str | None,
    **options: Any,
) -> None:
    """Send a message; when this returns, it is committed and its recipients were woken.

    --to takes an address (architect:swarm-1) or a broadcast pattern: '*:swarm-1', 'architect:*', '*:*'.
    """
    content = _read_body(body, body_file)
    with open_client(sender, db) as bus:
        target = to[0] if len(to) == 1 else list(to)
        message = bus.send(target, type_, content, expires_in_s=expires_in, delay_s=delay, **options)
    if as_json:
        echo_json(message.as_dict())
    else:
        route = f"{escape(message.sender)} -> {escape(message.recipient)}"
        click.echo(f"sent #{message.id} {route} type={escape(message.type)}")


def _read_body(text: str | None, file: BinaryIO | None) -> Any:
    if text is not None and file is not None:
        raise click.UsageError("--body and --body-file exclude each other: give one of them")
    if file is not None:
        try:
            text = file.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise BodyError(f"body file {file.name} is not UTF-8: {error}") from None
    return {} if text is None else bodies.parse(text)
