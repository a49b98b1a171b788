"""`raven stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from raven.cli import units
from raven.cli.options import bus_option, json_option, open_observer
from raven.cli.output import echo_json, echo_table

if TYPE_CHECKING:
    from raven.model.status import Latency, Stats


@click.command(short_help="Show how much there is, how fast it moves, how long it waits.")
@json_option
@bus_option
def stats(as_json: bool, db: str | None) -> None:
    """Show how much is on the bus, how fast it moves and how long it waits; changes nothing.

    Rates are deliveries per second over the last minute, latencies those of the newest 10,000 deliveries. `raven top`
    shows the same live.
    """
    with open_observer(db) as bus:
        found = bus.stats()
    if as_json:
        echo_json(found.as_dict())
        return
    _echo_totals(found)
    click.echo()
    _echo_latencies(found)
    if found.attempts:
        click.echo()
        echo_table(("ATTEMPT", "UNFINISHED"), [(number, f"{count:,}") for number, count in found.attempts.items()])
    if found.addresses:
        click.echo()
        _echo_addresses(found)


def _echo_totals(found: Stats) -> None:
    counts = [("MESSAGES", found.messages), *((state.upper(), n) for state, n in (found.deliveries or {}).items())]
    echo_table([heading for heading, _ in counts], [[f"{count or 0:,}" for _, count in counts]])
    click.echo()
    echo_table(
        ("READY", "DELAYED", "IN FLIGHT", "FILE", "WAL", "FREE"),
        [
            (
                *(f"{count:,}" for count in (found.ready, found.delayed, found.in_flight)),
                *(units.size(count) for count in (found.file_bytes, found.wal_bytes, found.free_bytes)),
            )
        ],
    )


def _echo_latencies(found: Stats) -> None:
    click.echo(
        "per second: " + ", ".join(f"{units.rate(value)} {name}" for name, value in found.rates._asdict().items())
    )
    click.echo()
    steps: dict[str, Latency | None] = {
        "send to deliver": found.send_to_delivery,
        "deliver to ack": found.delivery_to_ack,
    }
    echo_table(
        ("LATENCY", "SAMPLES", "P50", "P90", "P99", "MAX"),
        [
            (name, f"{one.samples:,}", *map(units.span, (one.p50_s, one.p90_s, one.p99_s, one.max_s)))
            for name, one in steps.items()
            if one is not None
        ],
    )


def _echo_addresses(found: Stats) -> None:
    echo_table(
        ("ADDRESS", "WAITING", "READY", "DELAYED", "IN FLIGHT", "DEAD", "OLDEST", "RATE"),
        [
            (
                one.address,
                *(f"{count:,}" for count in (one.waiting, one.ready, one.delayed, one.in_flight, one.dead)),
                units.span(one.oldest_s),
                units.rate(one.rate),
            )
            for one in found.addresses
        ],
    )
