"""`raven claim`, `raven ack`, `raven nack` and `raven extend`: the lease of a message, from claim to ack or nack."""

from __future__ import annotations

import click

from raven.cli.command import Documented
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


@click.command(
    cls=Documented,
    short_help="Lease ready messages of an address.",
    example="raven claim -a worker:s1 --max 10 --lease 5m",
)
@address_option("Address to claim for, <role>:<session>.", required=True)
@click.option("-m", "--max", "max_", type=int, default=1, show_default=True, help="Claim at most this many messages.")
@click.option("--lease", type=DURATION, default="30s", show_default=True, help="Duration of the lease.")
@json_option
@bus_option
def claim(address: str, max_: int, lease: float, as_json: bool, db: str | None) -> None:
    """Lease the ready messages of an address, by urgency, then age; returns at once if no message is ready.

    Ack, nack or extend each message before its lease ends. Otherwise the message is ready again for any consumer of the
    address, or dead after its last attempt.
    """
    with open_client(address, db) as bus:
        messages = bus.claim(max_, lease)
    echo_messages(messages, as_json, lambda message: {"lease": message.lease, "attempt": message.attempts})


_NOT_FOUND = {4: "the message does not exist, or was not sent to the address"}
_LOST = {1: "the lease is lost, or the message is already finished", **_NOT_FOUND}


@click.command(cls=Documented, short_help="Mark messages as done.", example="raven ack 1", exit_codes=_LOST)
@click.argument("message_ids", metavar="ID...", type=int, nargs=-1, required=True)
@recipient_option
@lease_option
@json_option
@bus_option
def ack(message_ids: tuple[int, ...], address: str | None, lease: int | None, as_json: bool, db: str | None) -> None:
    """Mark messages as done, so that they leave the inbox; a second ack changes nothing.

    With --lease, the ack fails if that lease is lost.
    """
    for message_id in message_ids:
        with open_recipient(address, message_id, db) as bus:
            bus.ack(message_id, lease=lease)
        if not as_json:
            click.echo(f"acked #{message_id}")
    if as_json:
        echo_json({"acked": list(message_ids)})


@click.command(
    cls=Documented,
    short_help="Return messages to the queue.",
    example="raven nack 1 --delay 30s --reason 'out of memory'",
    exit_codes=_LOST,
)
@click.argument("message_ids", metavar="ID...", type=int, nargs=-1, required=True)
@recipient_option
@click.option("--delay", type=DURATION, default="0s", show_default=True, help="Delay before the next delivery.")
@click.option("--reason", metavar="TEXT", help="Reason, shown by dead-letters and receipts.")
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
    """Return messages to the queue, ready at once or after a delay; after its last attempt a message is dead."""
    states = []
    for message_id in message_ids:
        with open_recipient(address, message_id, db) as bus:
            state = bus.nack(message_id, delay, reason, lease=lease)
        states.append({"id": message_id, "state": state})
        if not as_json:
            click.echo(f"nacked #{message_id}" + (": dead" if state == "dead" else ""))
    if as_json:
        echo_json({"nacked": states})


@click.command(
    cls=Documented,
    short_help="Extend the lease of claimed messages.",
    example="raven extend 1 --for 10m",
    exit_codes=_LOST,
)
@click.argument("message_ids", metavar="ID...", type=int, nargs=-1, required=True)
@recipient_option
@click.option("--for", "duration", type=DURATION, default="30s", show_default=True, help="Lease duration from now.")
@lease_option
@json_option
@bus_option
def extend(
    message_ids: tuple[int, ...], address: str | None, duration: float, lease: int | None, as_json: bool, db: str | None
) -> None:
    """Extend the lease of claimed messages: it then ends this long after now."""
    for message_id in message_ids:
        with open_recipient(address, message_id, db) as bus:
            bus.extend(message_id, duration, lease=lease)
        if not as_json:
            click.echo(f"extended #{message_id}")
    if as_json:
        echo_json({"extended": list(message_ids)})
