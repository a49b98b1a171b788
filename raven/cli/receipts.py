"""`raven receipts`."""

from __future__ import annotations

from datetime import datetime

import click

from raven.cli.options import bus_option, json_option, open_observer
from raven.cli.output import echo_json, echo_table
from raven.model import clock


@click.command(short_help="Show how far a message has come.")
@click.argument("message_id", metavar="ID", type=int)
@json_option
@bus_option
def receipts(message_id: int, as_json: bool, db: str | None) -> None:
    """Show how far each delivery of a message has come: its state, attempts, times, and why it was given back last."""
    with open_observer(db) as bus:
        found = bus.receipts(message_id)
    if as_json:
        echo_json({"receipts": [receipt.as_dict() for receipt in found]})
        return
    rows = [
        (
            receipt.recipient,
            receipt.state,
            f"{receipt.attempts}/{receipt.max_attempts}",
            _shown(receipt.delivered_at),
            _shown(receipt.finished_at),
            receipt.reason or "-",
        )
        for receipt in found
    ]
    echo_table(("RECIPIENT", "STATE", "ATTEMPTS", "DELIVERED", "FINISHED", "REASON"), rows)


def _shown(moment: datetime | None) -> str:
    return clock.isoformat(moment) if moment else "-"
