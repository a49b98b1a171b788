"""`raven inbox`, `read`, `thread`, `history` and `tail`: reads of messages."""

from __future__ import annotations

import click

from raven.cli.command import Documented
from raven.cli.options import DURATION, address_option, bus_option, json_option, open_client, open_observer
from raven.cli.output import echo_details, echo_json, echo_message, echo_messages

_NOT_FOUND = {4: "the message does not exist"}


@click.command(
    cls=Documented, short_help="Show the unacked messages of an address.", example="raven inbox -a worker:s1 --peek"
)
@address_option("Address of the inbox, <role>:<session>.", required=True)
@click.option("-m", "--max", "max_", type=int, default=100, show_default=True, help="Show at most this many messages.")
@click.option("--peek", is_flag=True, help="Mark no message as delivered; register no address.")
@json_option
@bus_option
def inbox(address: str, max_: int, peek: bool, as_json: bool, db: str | None) -> None:
    """Show the unacked messages of an address, by urgency, then age; a message stays until it is acked."""
    with open_client(address, db, register=not peek, create=not peek) as bus:
        messages = bus.inbox(max_, peek)
    echo_messages(messages, as_json)


@click.command(cls=Documented, short_help="Show one message.", example="raven read 1 --json", exit_codes=_NOT_FOUND)
@click.argument("message_id", metavar="ID", type=int)
@address_option("Recipient whose delivery to show.")
@json_option
@bus_option
def read(message_id: int, address: str | None, as_json: bool, db: str | None) -> None:
    """Show one message with all its properties, without changing its state."""
    with open_client(address, db, register=False, create=False) if address else open_observer(db) as bus:
        message = bus.read(message_id)
    if as_json:
        echo_json(message.as_dict())
    else:
        echo_details(message)


@click.command(
    cls=Documented,
    short_help="Show a message with everything that replies link to it.",
    example="raven thread 1",
    exit_codes=_NOT_FOUND,
)
@click.argument("message_id", metavar="ID", type=int)
@address_option("Only messages from or to this address.")
@click.option("-m", "--max", "max_", type=int, default=1000, show_default=True, help="Show at most this many messages.")
@json_option
@bus_option
def thread(message_id: int, address: str | None, max_: int, as_json: bool, db: str | None) -> None:
    """Show the conversation of a message in order: the messages that it replies to, and all replies."""
    with open_observer(db) as bus:
        messages = bus.thread(message_id, role=address, max=max_)
    echo_messages(messages, as_json)


@click.command(
    cls=Documented,
    short_help="Show the messages of a correlation ID or a task.",
    example="raven history --correlation-id order-7",
)
@click.option("--correlation-id", metavar="TEXT", help="Correlation ID.")
@click.option("--task-id", metavar="TEXT", help="Task ID.")
@address_option("Only messages from or to this address.")
@click.option("-m", "--max", "max_", type=int, default=1000, show_default=True, help="Show at most this many messages.")
@json_option
@bus_option
def history(
    correlation_id: str | None, task_id: str | None, address: str | None, max_: int, as_json: bool, db: str | None
) -> None:
    """Show the messages of a correlation ID or of a task, in order."""
    if (correlation_id is None) == (task_id is None):
        raise click.UsageError("give either --correlation-id or --task-id")
    with open_observer(db) as bus:
        messages = bus.history(correlation_id, task_id=task_id, role=address, max=max_)
    echo_messages(messages, as_json)


@click.command(cls=Documented, short_help="Follow all messages on the bus.", example="raven tail --last 10 --no-follow")
@address_option("Only messages from or to this address.")
@click.option("--from", "from_id", type=int, metavar="ID", help="Start at this message (default: the first).")
@click.option("-n", "--last", type=click.IntRange(min=0), metavar="N", help="Start with the last N messages.")
@click.option("--no-follow", is_flag=True, help="Stop after the newest message.")
@click.option("--timeout", type=DURATION, help="Stop after this long.")
@json_option
@bus_option
def tail(
    address: str | None,
    from_id: int | None,
    last: int | None,
    no_follow: bool,
    timeout: float | None,
    as_json: bool,
    db: str | None,
) -> None:
    """Follow all messages, or only one address, without changing their state or registering an address."""
    if from_id is not None and last is not None:
        raise click.UsageError("--from and --last exclude each other: give one of them")
    from raven.wake.sigterm import raise_on_sigterm

    raise_on_sigterm()
    with open_observer(db) as bus:
        if last is not None:
            from_id = max(0, bus.last_id() - last + 1)
        for message in bus.tail(from_id or 0, role=address, follow=not no_follow, timeout_s=timeout):
            echo_message(message, as_json)
