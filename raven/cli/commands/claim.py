"""`raven claim`, `raven ack`, `raven nack` and `raven extend`: a message in hand, from taking it to finishing it."""

from __future__ import annotations

import click

from raven.cli.options import (
    DURATION,
    address_option,
    bus_option,
    json_option,
    lease_option,
    open_client,
    open_recipient,
    recipient_option,
)
from raven.cli.output import echo_json, echo_messages


@click.command(short_help="Take messages under a lease.")
@address_option("Whose mail, <role>:<session>.", required=True)
@click.option("-m", "--max", "max_", type=int, default=1, show_default=True, help="Take at most this many.")
@click.option("--lease", type=DURATION, default="30s", show_default=True, help="How long nobody else can have them.")
@json_option
@bus_option
def claim(address: str, max_: int, lease: float, as_json: bool, db: str | None) -> None:
    """Take messages that are ready, by urgency, then age; never waits.

    Ack or nack each, or extend its lease, before the lease ends: else it is ready again for whoever comes first, and
    dead after its last attempt.
    """
    with open_client(address, db) as bus:
        messages = bus.claim(max_, lease)
    echo_messages(messages, as_json, lambda message: {"lease": message.lease, "attempt": message.attempts})


@click.command(short_help="Finish messages.")
@click.argument("message_ids", metavar="ID...", type=int, nargs=-1, required=True)
@recipient_option
@lease_option
@json_option
@bus_option
def ack(message_ids: tuple[int, ...], address: str | None, lease: int | None, as_json: bool, db: str | None) -> None:
    """Finish messages, so that they leave the inbox; acking twice is the same as once.

    With the lease under which a message was claimed, an ack that comes too late is refused: another has it then.
    """
    for message_id in message_ids:
        with open_recipient(address, message_id, db) as bus:
            bus.ack(message_id, lease=lease)
        if not as_json:
            click.echo(f"acked #{message_id}")
    if as_json:
        echo_json({"acked": list(message_ids)})


@click.command(short_help="Give messages back.")
@click.argument("message_ids", metavar="ID...", type=int, nargs=-1, required=True)
@recipient_option
@click.option("--delay", type=DURATION, default="0s", show_default=True, help="Hold them back that long.")
@click.option("--reason", metavar="TEXT", help="Why; shown by `raven dead-letters` and `raven receipts`.")
@lease_option
@json_option
@bus_option
def nack(
    message_ids: tuple[int, ...],
    address: str | None,
    delay: float,
    reason: str | None,
    lease: int | None,
    as_json: bool,
    db: str | None,
) -> None:
    """Give messages back, to be taken by anyone at once or after a delay; what has had its last attempt is dead."""
    states = []
    for message_id in message_ids:
        with open_recipient(address, message_id, db) as bus:
            state = bus.nack(message_id, delay, reason, lease=lease)
        states.append({"id": message_id, "state": state})
        if not as_json:
            click.echo(f"nacked #{message_id}" + (": dead" if state == "dead" else ""))
    if as_json:
        echo_json({"nacked": states})


@click.command(short_help="Keep messages in hand for longer.")
@click.argument("message_ids", metavar="ID...", type=int, nargs=-1, required=True)
@recipient_option
@click.option("--for", "span", type=DURATION, default="30s", show_default=True, help="From now until the lease ends.")
@lease_option
@json_option
@bus_option
def extend(
    message_ids: tuple[int, ...], address: str | None, span: float, lease: int | None, as_json: bool, db: str | None
) -> None:
    """Let the lease of messages that were claimed end later, counted from now."""
    for message_id in message_ids:
        with open_recipient(address, message_id, db) as bus:
            bus.extend(message_id, span, lease=lease)
        if not as_json:
            click.echo(f"extended #{message_id}")
    if as_json:
        echo_json({"extended": list(message_ids)})
