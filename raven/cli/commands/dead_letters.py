"""`raven dead-letters`, `raven requeue` and `raven prune`: what is over, to look at, revive or drop."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from raven.cli.exit_codes import GENERAL
from raven.cli.options import DURATION, address_option, bus_option, json_option, open_observer
from raven.cli.output import counted, echo_json, echo_messages
from raven.model import clock

if TYPE_CHECKING:
    from raven.model.message import Message
    from raven.model.status import Pruned


@click.command(short_help="Show or drop what has died.")
@address_option("Only what was sent to this address.")
@click.option("-m", "--max", "max_", type=int, default=100, show_default=True, help="Show at most this many.")
@click.option("--purge", is_flag=True, help="Drop them instead, however many there are.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal before dropping.")
@json_option
@bus_option
def dead_letters(address: str | None, max_: int, purge: bool, yes: bool, as_json: bool, db: str | None) -> int:
    """Show what has died: messages whose attempts ran out, with the reason and the time; `raven requeue` revives."""
    with open_observer(db) as bus:
        if not purge:
            echo_messages(bus.dead(address, max=max_), as_json, _marks)
            return 0
        if not yes and sys.stdin.isatty():
            whose = f" of {address}" if address else ""
            if not click.confirm(f"Drop all dead messages{whose} for good?", err=True):
                return GENERAL
        count = bus.purge_dead(address)
    if as_json:
        echo_json({"purged": count})
    else:
        click.echo(f"dropped {counted(count, 'dead message')}")
    return 0


@click.command(short_help="Revive what has died.")
@click.argument("message_ids", metavar="[ID...]", type=int, nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All that are dead, but for those whose time has run out.")
@address_option("Only for this recipient.")
@json_option
@bus_option
def requeue(message_ids: tuple[int, ...], all_: bool, address: str | None, as_json: bool, db: str | None) -> None:
    """Revive what has died: ready at once, with all attempts before it. Of several IDs all are revived, or none."""
    if all_ == bool(message_ids):
        raise click.UsageError("say which: the ids of dead messages, or --all (not both)")
    with open_observer(db) as bus:
        count = bus.requeue(*message_ids, role=address, all=all_)
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


@click.command(short_help="Drop finished messages that are old.")
@click.option("--older-than", type=DURATION, default="7d", show_default=True, help="Age from which to drop (0s: all).")
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@json_option
@bus_option
def prune(older_than: float, dry_run: bool, as_json: bool, db: str | None) -> None:
    """Drop finished messages that are old, and give their space back; what is not finished is never touched."""
    with (
        open_observer(db) as bus,
        click.progressbar(length=1, label="pruning", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar,
    ):

        def show(done: Pruned) -> None:
            bar.length = max(1, done.candidates)
            bar.update(done.messages - bar.pos)

        total = bus.prune(older_than, dry_run=dry_run, progress=show)
    if as_json:
        echo_json({"messages": total.messages, "bytes": total.bytes, "dry_run": dry_run})
    else:
        verb = "would drop" if dry_run else "dropped"
        click.echo(f"{verb} {total.messages} messages with {total.bytes:,} bytes of bodies")
