"""`raven doctor`, `peers`, `receipts` and `stats`: how the bus is, who is on it, how far a message has come."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from raven.cli.exit_codes import GENERAL
from raven.cli.options import bus_option, db_option, json_option, load_config, open_observer
from raven.cli.output import echo_json, echo_table, escape, rate, size, span
from raven.errors import UnknownAddressError
from raven.model import clock

if TYPE_CHECKING:
    from raven.model.status import Latency, Stats

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(short_help="Check the health of the bus.")
@json_option
@db_option
def doctor(as_json: bool, db: str | None) -> int:
    """Check which bus this is and whether it is healthy: lines of ok, warn or fail with the remedy; exit 1 on fail."""
    from raven.doctor.examine import examine

    checks = []
    for check in examine(load_config(db)):
        checks.append(check)
        if not as_json:
            verdict = click.style(f"{check.verdict:<4}", fg=_COLOURS[check.verdict])
            remedy = f" -> {escape(check.remedy)}" if check.remedy else ""
            click.echo(f"{verdict}  {check.name}: {escape(check.found)}{remedy}")
    failed = any(check.verdict == "fail" for check in checks)
    if as_json:
        echo_json({"healthy": not failed, "checks": [check.as_dict() for check in checks]})
    return GENERAL if failed else 0


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
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit} ago"
    return f"{max(0, seconds):.0f}s ago"


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
                *(size(count) for count in (found.file_bytes, found.wal_bytes, found.free_bytes)),
            )
        ],
    )


def _echo_latencies(found: Stats) -> None:
    click.echo("per second: " + ", ".join(f"{rate(value)} {name}" for name, value in found.rates._asdict().items()))
    click.echo()
    steps: dict[str, Latency | None] = {
        "send to deliver": found.send_to_delivery,
        "deliver to ack": found.delivery_to_ack,
    }
    echo_table(
        ("LATENCY", "SAMPLES", "P50", "P90", "P99", "MAX"),
        [
            (name, f"{one.samples:,}", *map(span, (one.p50_s, one.p90_s, one.p99_s, one.max_s)))
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
                span(one.oldest_s),
                rate(one.rate),
            )
            for one in found.addresses
        ],
    )
