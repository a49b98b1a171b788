"""`raven dead` and `raven requeue`: what has died, to be looked at, dropped or revived."""

from __future__ import annotations

import json
import sys

import click

from raven.cli.exit_codes import GENERAL
from raven.cli.options import ADDRESS, bus_option, json_option, open_observer
from raven.cli.output import counted, echo_json, echo_messages
from raven.model import clock
from raven.model.message import Message


@click.command(short_help="Show or drop what has died.")
@click.option("-r", "--role", type=ADDRESS, help="Only what was sent to this address.")
@click.option("-m", "--max", "max_", type=int, default=100, show_default=True, help="Show at most this many.")
@click.option("--purge", is_flag=True, help="Drop them instead, however many there are.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal before dropping.")
@json_option
@bus_option
def dead(role: str | None, max_: int, purge: bool, yes: bool, as_json: bool, db: str | None) -> int:
    """Show what has died: messages whose attempts ran out, with the reason and the time; `raven requeue` revives."""
    with open_observer(db) as bus:
        if not purge:
            echo_messages(bus.dead(role, max=max_), as_json, _marks)
            return 0
        if not yes and sys.stdin.isatty():
            whose = f" of {role}" if role else ""
            if not click.confirm(f"Drop all dead messages{whose} for good?", err=True):
                return GENERAL
        count = bus.purge_dead(role)
    if as_json:
        echo_json({"purged": count})
    else:
        click.echo(f"dropped {counted(count, 'dead message')}")
    return 0


@click.command(short_help="Revive what has died.")
@click.argument("message_ids", metavar="[ID...]", type=int, nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All that are dead, but for those whose time has run out.")
@click.option("-r", "--role", type=ADDRESS, help="Only for this recipient.")
@json_option
@bus_option
def requeue(message_ids: tuple[int, ...], all_: bool, role: str | None, as_json: bool, db: str | None) -> None:
    """Revive what has died: ready at once, with all attempts before it. Of several IDs all are revived, or none."""
    if all_ == bool(message_ids):
        raise click.UsageError("say which: the ids of dead messages, or --all (not both)")
    with open_observer(db) as bus:
        count = bus.requeue(*message_ids, role=role, all=all_)
    if as_json:
        echo_json({"requeued": count})
    else:
        click.echo(f"requeued {counted(count, 'dead message')}")


def _marks(message: Message) -> dict[str, object]:
    return {
        "attempts": message.attempts,
        "died": clock.isoformat(message.finished_at) if message.finished_at else None,
        "reason": json.dumps(message.reason, ensure_ascii=False),
    }
