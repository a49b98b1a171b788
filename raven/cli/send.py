"""`raven send`."""

from __future__ import annotations

from typing import Any

import click

from raven.cli.content import REPLY_TO, content_options
from raven.cli.options import ADDRESS, DURATION, bus_option, json_option, open_sender
from raven.cli.output import echo_json, echo_sent, escape
from raven.errors import RavenError

_OUTCOMES = {"delivered": "delivered to", "acked": "acked by"}


@click.command(short_help="Send a message.")
@click.option("--from", "sender", type=ADDRESS, required=True, help="Sender, <role>:<session>.")
@click.option(
    "--to", type=ADDRESS, required=True, multiple=True, help="Address or pattern; may be given several times."
)
@content_options(lasting=True)
@REPLY_TO
@click.option("--wait", type=click.Choice(list(_OUTCOMES)), help="Then wait until all recipients have come so far.")
@click.option("--timeout", type=DURATION, help="Wait no longer than this; exit 1 then (30s).")
@json_option
@bus_option
def send(
    sender: str,
    to: tuple[str, ...],
    content: dict[str, Any],
    wait: Any,
    timeout: float | None,
    as_json: bool,
    db: str | None,
) -> None:
    """Send a message; when this returns, it is committed and its recipients were woken.

    --to takes an address (architect:swarm-1) or a broadcast pattern: '*:swarm-1', 'architect:*', '*:*'.
    """
    if timeout is not None and wait is None:
        raise click.UsageError("--timeout is for --wait: give both")
    if wait is not None:
        from raven.wake import sigterm as signals

        signals.unwind_on_sigterm()
    with open_sender(sender, db) as bus:
        message = bus.send(to[0] if len(to) == 1 else list(to), **content)
        shape = message.as_dict()
        if not as_json:
            echo_sent(message)
        if wait is not None:
            try:
                receipts = bus.wait_receipt(message.id, wait, 30.0 if timeout is None else timeout)
            except RavenError as error:
                error.args = (f"sent #{message.id}, but {error}", *error.args[1:])
                raise
            shape["receipts"] = [receipt.as_dict() for receipt in receipts]
            if not as_json:
                click.echo(f"{_OUTCOMES[wait]} {escape(', '.join(one.recipient for one in receipts)) or 'nobody'}")
    if as_json:
        echo_json(shape)
