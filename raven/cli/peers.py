"""`raven peers`."""

from __future__ import annotations

import click

from raven.cli.options import bus_option, json_option, open_observer
from raven.cli.output import echo_json, echo_table
from raven.errors import UnknownAddressError
from raven.model import clock


@click.command(short_help="Show who is on the bus.")
@click.option("--session", metavar="SESSION", help="Only of this session.")
@json_option
@bus_option
def peers(session: str | None, as_json: bool, db: str | None) -> None:
    """Show who is on the bus: who is waiting now, who was seen when, and how much waits for each."""
    with open_observer(db) as bus:
        found = bus.peers(session)
    if session is not None and not found:
        raise UnknownAddressError(f"session {session!r} is not known: nobody has used it, see `raven peers`")
    if as_json:
        echo_json({"peers": [peer.as_dict() for peer in found]})
        return
    if not found:
        click.echo("(nobody)")
        return
    now = clock.from_micros(clock.now())
    rows = [
        (
            peer.address,
            f"yes ({peer.waiting})" if peer.waiting > 1 else "yes" if peer.waiting else "no",
            peer.pending,
            "never" if peer.last_seen is None else _ago((now - peer.last_seen).total_seconds()),
        )
        for peer in found
    ]
    echo_table(("ADDRESS", "WAITING", "PENDING", "LAST SEEN"), rows)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit} ago"
    return f"{max(0, seconds):.0f}s ago"
