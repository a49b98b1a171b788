"""`raven inbox`, `read`, `thread`, `history` and `tail`: looks at messages."""

from __future__ import annotations

import click

from raven.cli.options import DURATION, address_option, bus_option, json_option, open_client, open_observer
from raven.cli.output import echo_details, echo_json, echo_message, echo_messages


@click.command(short_help="Show what an address has not acked.")
@address_option("Whose inbox, <role>:<session>.", required=True)
@click.option("-m", "--max", "max_", type=int, default=100, show_default=True, help="Show at most this many.")
@click.option("--peek", is_flag=True, help="Mark nothing as delivered, register nobody.")
@json_option
@bus_option
def inbox(address: str, max_: int, peek: bool, as_json: bool, db: str | None) -> None:
    """Show what an address has not acked, by urgency, then age; again and again until acked."""
    with open_client(address, db, register=not peek, create=not peek) as bus:
        messages = bus.inbox(max_, peek)
    echo_messages(messages, as_json)


@click.command(short_help="Show one message.")
@click.argument("message_id", metavar="ID", type=int)
@address_option("As which of its recipients.")
@json_option
@bus_option
def read(message_id: int, address: str | None, as_json: bool, db: str | None) -> None:
    """Show one message with all its properties; changes nothing."""
    with open_client(address, db, register=False, create=False) if address else open_observer(db) as bus:
        message = bus.read(message_id)
    if as_json:
        echo_json(message.as_dict())
    else:
        echo_details(message)


@click.command(short_help="Show the conversation that a message is part of.")
@click.argument("message_id", metavar="ID", type=int)
@address_option("Only what is from or to this address.")
@click.option("-m", "--max", "max_", type=int, default=1000, show_default=True, help="Show at most this many.")
@json_option
@bus_option
def thread(message_id: int, address: str | None, max_: int, as_json: bool, db: str | None) -> None:
    """Show the conversation that a message is part of, in order: all that it answers, and all answers."""
    with open_observer(db) as bus:
        messages = bus.thread(message_id, role=address, max=max_)
    echo_messages(messages, as_json)


@click.command(short_help="Show the messages of a correlation id or a task.")
@click.option("--correlation-id", metavar="TEXT", help="Of this conversation.")
@click.option("--task-id", metavar="TEXT", help="Of this task.")
@address_option("Only what is from or to this address.")
@click.option("-m", "--max", "max_", type=int, default=1000, show_default=True, help="Show at most this many.")
@json_option
@bus_option
def history(
    correlation_id: str | None, task_id: str | None, address: str | None, max_: int, as_json: bool, db: str | None
) -> None:
    """Show the messages of a correlation id or a task, in order."""
    if (correlation_id is None) == (task_id is None):
        raise click.UsageError("say which messages: give either --correlation-id or --task-id")
    with open_observer(db) as bus:
        messages = bus.history(correlation_id, task_id=task_id, role=address, max=max_)
    echo_messages(messages, as_json)


@click.command(short_help="Watch all messages go by.")
@address_option("Only what is from or to this address.")
@click.option("--from", "from_id", type=int, metavar="ID", help="Begin at this message (default: the first).")
@click.option("-n", "--last", type=click.IntRange(min=0), metavar="N", help="Begin with the last N messages.")
@click.option("--no-follow", is_flag=True, help="Stop at the newest message instead of waiting for more.")
@click.option("--timeout", type=DURATION, help="Stop following after this long.")
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
    """Watch all messages go by, or those of one address; consumes nothing, registers nobody."""
    if from_id is not None and last is not None:
        raise click.UsageError("--from and --last exclude each other: give one of them")
    from raven.wake.sigterm import raise_on_sigterm

    raise_on_sigterm()
    with open_observer(db) as bus:
        if last is not None:
            from_id = max(0, bus.last_id() - last + 1)
        for message in bus.tail(from_id or 0, role=address, follow=not no_follow, timeout_s=timeout):
            echo_message(message, as_json)
