"""`raven inbox`, `raven read` and `raven ack`: one address's mail."""

from __future__ import annotations

import click

from raven.cli.options import ADDRESS, bus_option, json_option, open_client, open_observer
from raven.cli.output import echo_details, echo_json, echo_message


@click.command(short_help="Show what an address has not acked.")
@click.option("-r", "--role", type=ADDRESS, required=True, help="Whose inbox, <role>:<session>.")
@click.option("-m", "--max", "max_", type=int, default=100, show_default=True, help="Show at most this many.")
@click.option("--peek", is_flag=True, help="Mark nothing as delivered, register nobody.")
@json_option
@bus_option
def inbox(role: str, max_: int, peek: bool, as_json: bool, db: str | None) -> None:
    """Show what an address has not acked, by urgency, then age; again and again until acked."""
    with open_client(role, db, register=not peek, create=not peek) as bus:
        messages = bus.inbox(max_, peek)
    if as_json:
        echo_json({"messages": [message.as_dict() for message in messages]})
        return
    for message in messages:
        echo_message(message)
    if not messages:
        click.echo("(no messages)")


@click.command(short_help="Show one message.")
@click.argument("message_id", metavar="ID", type=int)
@click.option("-r", "--role", type=ADDRESS, help="As which of its recipients.")
@json_option
@bus_option
def read(message_id: int, role: str | None, as_json: bool, db: str | None) -> None:
    """Show one message with all its properties; changes nothing."""
    with open_client(role, db, register=False, create=False) if role else open_observer(db) as bus:
        message = bus.read(message_id)
    if as_json:
        echo_json(message.as_dict())
    else:
        echo_details(message)


@click.command(short_help="Finish messages.")
@click.argument("message_ids", metavar="ID...", type=int, nargs=-1, required=True)
@click.option("-r", "--role", type=ADDRESS, help="For which recipient; needed where there are several.")
@json_option
@bus_option
def ack(message_ids: tuple[int, ...], role: str | None, as_json: bool, db: str | None) -> None:
    """Finish messages, so that they leave the inbox; acking twice is the same as once."""
    for message_id in message_ids:
        with open_client(role or _only_recipient(message_id, db), db, register=False, create=False) as bus:
            bus.ack(message_id)
        if not as_json:
            click.echo(f"acked #{message_id}")
    if as_json:
        echo_json({"acked": list(message_ids)})


def _only_recipient(message_id: int, db: str | None) -> str:
    with open_observer(db) as bus:
        recipients = bus.recipients(message_id)
    if len(recipients) != 1:
        shown = ", ".join(recipients[:5]) + (", ..." if len(recipients) > 5 else "") or "nobody"
        raise click.UsageError(f"message #{message_id} went to {shown}: say for whom you ack with --role")
    return recipients[0]
