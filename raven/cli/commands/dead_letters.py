"""`raven dead-letters`, `raven requeue` and `raven prune`: list, requeue or delete finished messages."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from raven.cli.command import Documented
from raven.cli.exit_codes import GENERAL
from raven.cli.options import DURATION, address_option, bus_option, json_option, open_observer
from raven.cli.output import echo_json, echo_messages, format_count
from raven.model import clock

if TYPE_CHECKING:
    from raven.model.message import Message
    from raven.model.status import Pruned


@click.command(
    cls=Documented,
    short_help="Show or delete dead messages.",
    example="raven dead-letters -a worker:s1",
    exit_codes={GENERAL: "--purge was not confirmed"},
)
@address_option("Only messages to this address.")
@click.option("-m", "--max", "max_", type=int, default=100, show_default=True, help="Show at most this many messages.")
@click.option("--purge", is_flag=True, help="Delete all of them instead; ignores --max.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation on a terminal.")
@json_option
@bus_option
def dead_letters(address: str | None, max_: int, purge: bool, yes: bool, as_json: bool, db: str | None) -> int:
    """Show dead messages, whose attempts ran out, each with its last reason and the time; requeue revives them."""
    with open_observer(db) as bus:
        if not purge:
            echo_messages(bus.dead(address, max=max_), as_json, _marks)
            return 0
        if not yes and sys.stdin.isatty():
            recipient = f" to {address}" if address else ""
            if not click.confirm(f"Delete all dead messages{recipient}?", err=True):
                return GENERAL
        count = bus.purge_dead(address)
    if as_json:
        echo_json({"purged": count})
    else:
        click.echo(f"dropped {format_count(count, 'dead message')}")
    return 0


@click.command(
    cls=Documented,
    short_help="Requeue dead messages.",
    example="raven requeue --all -a worker:s1",
    exit_codes={GENERAL: "a message is not dead", 4: "a message does not exist"},
)
@click.argument("message_ids", metavar="[ID...]", type=int, nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All dead messages that have not expired.")
@address_option("Only deliveries to this address.")
@json_option
@bus_option
def requeue(message_ids: tuple[int, ...], all_: bool, address: str | None, as_json: bool, db: str | None) -> None:
    """Requeue dead messages, ready at once with a fresh attempt count. Either all given IDs are requeued or none."""
    if all_ == bool(message_ids):
        raise click.UsageError("give the IDs of dead messages, or --all (not both)")
    with open_observer(db) as bus:
        count = bus.requeue(*message_ids, role=address, all=all_)
    if as_json:
        echo_json({"requeued": count})
    else:
        click.echo(f"requeued {format_count(count, 'dead message')}")


def _marks(message: Message) -> dict[str, object]:
    return {
        "attempts": message.attempts,
        "died": clock.isoformat(message.finished_at) if message.finished_at else None,
        "reason": json.dumps(message.reason, ensure_ascii=False),
    }


@click.command(
    cls=Documented,
    short_help="Delete old finished messages.",
    example="raven prune --older-than 30d --dry-run",
)
@click.option("--older-than", type=DURATION, default="7d", show_default=True, help="Minimum age (0s: all).")
@click.option("--dry-run", is_flag=True, help="Only count the messages.")
@click.option(
    "--grace",
    type=DURATION,
    default="60s",
    show_default=True,
    help="Keep messages that were finished within this time.",
)
@click.option("--unfinished", is_flag=True, help="Let unfinished messages of that age expire first.")
@json_option
@bus_option
def prune(older_than: float, dry_run: bool, grace: float, unfinished: bool, as_json: bool, db: str | None) -> None:
    """Delete finished messages of a minimum age, and shrink the file. Unfinished and dead messages stay.

    Messages for which a sender may still wait stay, too: requests without an answer, and those finished within --grace.
    """
    with (
        open_observer(db) as bus,
        click.progressbar(length=1, label="pruning", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar,
    ):

        def show(pruned: Pruned) -> None:
            bar.length = max(1, pruned.candidates)
            bar.update(pruned.messages - bar.pos)

        total = bus.prune(older_than, dry_run=dry_run, progress=show, grace_s=grace, unfinished=unfinished)
    if as_json:
        counts = {"messages": total.messages, "bytes": total.bytes, "kept": total.kept, "expired": total.expired}
        echo_json({**counts, "dry_run": dry_run})
        return
    if unfinished:
        click.echo(f"{'would expire' if dry_run else 'expired'} {total.expired:,} unfinished deliveries")
    click.echo(
        f"{'would drop' if dry_run else 'dropped'} {total.messages} messages with {total.bytes:,} bytes of bodies"
    )
    if total.kept:
        click.echo(f"kept {format_count(total.kept, 'message')} for which a sender may still wait")
