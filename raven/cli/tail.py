"""`raven tail`."""

from __future__ import annotations

import click

from raven.cli.options import ADDRESS, DURATION, bus_option, json_option, open_observer
from raven.cli.output import echo_message
from raven.wake import sigterm as signals


@click.command(short_help="Watch all messages go by.")
@click.option("-r", "--role", type=ADDRESS, help="Only what is from or to this address.")
@click.option("--from", "from_id", type=int, metavar="ID", help="Begin at this message (default: the first).")
@click.option("-n", "--last", type=click.IntRange(min=0), metavar="N", help="Begin with the last N messages.")
@click.option("--no-follow", is_flag=True, help="Stop at the newest message instead of waiting for more.")
@click.option("--timeout", type=DURATION, help="Stop following after this long.")
@json_option
@bus_option
def tail(
    role: str | None,
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
    signals.unwind_on_sigterm()
    with open_observer(db) as bus:
        if last is not None:
            from_id = max(0, bus.last_id() - last + 1)
        for message in bus.tail(from_id or 0, role=role, follow=not no_follow, timeout_s=timeout):
            echo_message(message, as_json)
