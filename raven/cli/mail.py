"""`raven inbox` and `raven read`: looks at one address's mail."""

from __future__ import annotations

import click

from raven.cli.options import ADDRESS, bus_option, json_option, open_client, open_observer
from raven.cli.output import echo_details, echo_json, echo_messages


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
    echo_messages(messages, as_json)


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
