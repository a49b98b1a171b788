"""`raven prune`."""

from __future__ import annotations

import sys

import click

from raven.cli.options import DURATION, bus_option, json_option, open_observer
from raven.cli.output import echo_json
from raven.model.status import Pruned


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
