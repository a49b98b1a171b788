"""`raven thread` and `raven history`: the messages of one conversation."""

from __future__ import annotations

import click

from raven.cli.options import ADDRESS, bus_option, json_option, open_observer
from raven.cli.output import echo_messages


@click.command(short_help="Show the conversation that a message is part of.")
@click.argument("message_id", metavar="ID", type=int)
@click.option("-r", "--role", type=ADDRESS, help="Only what is from or to this address.")
@click.option("-m", "--max", "max_", type=int, default=1000, show_default=True, help="Show at most this many.")
@json_option
@bus_option
def thread(message_id: int, role: str | None, max_: int, as_json: bool, db: str | None) -> None:
    """Show the conversation that a message is part of, in order: all that it answers, and all answers."""
    with open_observer(db) as bus:
        messages = bus.thread(message_id, role=role, max=max_)
    echo_messages(messages, as_json)


@click.command(short_help="Show the messages of a correlation id or a task.")
@click.option("--correlation-id", metavar="TEXT", help="Of this conversation.")
@click.option("--task-id", metavar="TEXT", help="Of this task.")
@click.option("-r", "--role", type=ADDRESS, help="Only what is from or to this address.")
@click.option("-m", "--max", "max_", type=int, default=1000, show_default=True, help="Show at most this many.")
@json_option
@bus_option
def history(
    correlation_id: str | None, task_id: str | None, role: str | None, max_: int, as_json: bool, db: str | None
) -> None:
    """Show the messages of a correlation id or a task, in order."""
    if (correlation_id is None) == (task_id is None):
        raise click.UsageError("say which messages: give either --correlation-id or --task-id")
    with open_observer(db) as bus:
        messages = bus.history(correlation_id, task_id=task_id, role=role, max=max_)
    echo_messages(messages, as_json)
