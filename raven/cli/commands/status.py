"""`raven doctor`, `peers`, `receipts` and `stats`: the health, addresses, deliveries and figures of the bus."""

from __future__ import annotations

from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from raven.cli.command import Documented
from raven.cli.exit_codes import GENERAL
from raven.cli.options import bus_option, db_option, json_option, load_config, open_observer
from raven.cli.output import echo_json, echo_table, escape, format_duration, format_rate, format_size
from raven.errors import UnknownAddressError, abbreviate
from raven.model import clock

if TYPE_CHECKING:
    from raven.model.status import Latency, Stats

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(
    cls=Documented,
    short_help="Check the health of the bus.",
    example="raven doctor",
    exit_codes={GENERAL: "a check failed"},
)
@json_option
@db_option
def doctor(as_json: bool, db: str | None) -> int:
    """Check which bus file this is and whether it is healthy: one line per check, ok, warn or fail, with the remedy.

    Then check each coding agent into which `raven install` has put the server, for this user and in this folder.
    """
    from raven.doctor.examine import examine
    from raven_mcp.install.checks import check_hosts

    checks = []
    for check in chain(examine(load_config(db)), check_hosts()):
        checks.append(check)
        if not as_json:
            verdict = click.style(f"{check.verdict:<4}", fg=_COLOURS[check.verdict])
            remedy = f" -> {escape(check.remedy)}" if check.remedy else ""
            click.echo(f"{verdict}  {check.name}: {escape(check.found)}{remedy}")
    failed = any(check.verdict == "fail" for check in checks)
    if as_json:
        echo_json({"healthy": not failed, "checks": [check.as_dict() for check in checks]})
    return GENERAL if failed else 0


@click.command(
    cls=Documented,
    short_help="Show the registered addresses.",
    example="raven peers --session s1",
    exit_codes={6: "the session has no address"},
)
@click.option("--session", metavar="SESSION", help="Only addresses of this session.")
@json_option
@bus_option
def peers(session: str | None, as_json: bool, db: str | None) -> None:
    """Show the addresses that are registered or have mail: listeners, unacked messages, time of the last use.

    On a bus with a link, HELD counts the unacked messages that other hosts have, and HOST is the other host at which
    the address is used. WAITING counts the listeners on this host. With coding agents, AGENT is the program that has
    the address, STATE is busy, idle, listening or away (its process has ended), and FOLDER is where it works.
    """
    with open_observer(db) as bus:
        peers = bus.peers(session)
    if session is not None and not peers:
        raise UnknownAddressError(
            f"session {abbreviate(session)} is not known: no address has used it, see `raven peers`"
        )
    if as_json:
        echo_json({"peers": [peer.as_dict() for peer in peers]})
        return
    if not peers:
        click.echo("(no addresses)")
        return
    now = clock.from_micros(clock.now())
    headings = ["ADDRESS", "WAITING", "PENDING", "LAST SEEN"]
    rows = [
        [
            peer.address,
            f"yes ({peer.waiting})" if peer.waiting > 1 else "yes" if peer.waiting else "no",
            peer.pending,
            "never" if peer.last_seen is None else _ago((now - peer.last_seen).total_seconds()),
        ]
        for peer in peers
    ]
    if any(peer.host or peer.held for peer in peers):
        headings += ["HELD", "HOST"]
        rows = [[*row, peer.held, peer.host or "-"] for row, peer in zip(rows, peers, strict=True)]
    if any(peer.agent for peer in peers):
        headings += ["AGENT", "STATE", "FOLDER"]
        rows = [
            [*row, peer.agent or "-", peer.state or "-", peer.cwd or "-"] for row, peer in zip(rows, peers, strict=True)
        ]
    echo_table(headings, rows)


def _echo_linked(headings: tuple[str, ...], of_link: tuple[str, ...], rows: list[Any], is_linked: bool) -> None:
    """Print a table; the last columns are shown only if other hosts have a part in it."""
    if is_linked:
        echo_table((*headings, *of_link), rows)
    else:
        echo_table(headings, [row[: len(headings)] for row in rows])


def _ago(seconds: float) -> str:
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f}{unit} ago"
    return f"{max(0, seconds):.0f}s ago"


@click.command(
    cls=Documented,
    short_help="Show the state of a message for each recipient.",
    example="raven receipts 1",
    exit_codes={4: "the message does not exist"},
)
@click.argument("message_id", metavar="ID", type=int)
@json_option
@bus_option
def receipts(message_id: int, as_json: bool, db: str | None) -> None:
    """Show each delivery of a message: its state, attempts, times, and the reason of the last nack.

    HOST is the other host that has the delivery, or at which it was finished; without any, the column is left out.
    """
    with open_observer(db) as bus:
        receipts = bus.receipts(message_id)
    if as_json:
        echo_json({"receipts": [receipt.as_dict() for receipt in receipts]})
        return
    rows = [
        (
            receipt.recipient,
            receipt.state,
            f"{receipt.attempts}/{receipt.max_attempts}",
            _time(receipt.delivered_at),
            _time(receipt.finished_at),
            receipt.reason or "-",
            receipt.host or "-",
        )
        for receipt in receipts
    ]
    headings = ("RECIPIENT", "STATE", "ATTEMPTS", "DELIVERED", "FINISHED", "REASON")
    _echo_linked(headings, ("HOST",), rows, any(receipt.host for receipt in receipts))


def _time(moment: datetime | None) -> str:
    return clock.isoformat(moment) if moment else "-"


@click.command(
    cls=Documented,
    short_help="Show the counts, rates and latencies of the bus.",
    example="raven stats --json",
)
@json_option
@bus_option
def stats(as_json: bool, db: str | None) -> None:
    """Show the counts, rates and latencies of the bus, without changing it.

    Rates are deliveries per second over the last minute. Latencies cover the newest 10,000 deliveries. `raven
    top` shows the same live.
    """
    with open_observer(db) as bus:
        stats = bus.stats()
    if as_json:
        echo_json(stats.as_dict())
        return
    _echo_totals(stats)
    click.echo()
    _echo_latencies(stats)
    if stats.attempts:
        click.echo()
        echo_table(("ATTEMPT", "UNFINISHED"), [(number, f"{count:,}") for number, count in stats.attempts.items()])
    if stats.addresses:
        click.echo()
        _echo_addresses(stats)


def _echo_totals(stats: Stats) -> None:
    counts = [("MESSAGES", stats.messages), *((state.upper(), n) for state, n in (stats.deliveries or {}).items())]
    echo_table([heading for heading, _ in counts], [[f"{count or 0:,}" for _, count in counts]])
    click.echo()
    row = (
        *(f"{count:,}" for count in (stats.ready, stats.delayed, stats.in_flight)),
        *(format_size(count) for count in (stats.file_bytes, stats.wal_bytes, stats.free_bytes)),
        f"{stats.held:,}",
    )
    _echo_linked(("READY", "DELAYED", "IN FLIGHT", "FILE", "WAL", "FREE"), ("HELD",), [row], stats.held > 0)


def _echo_latencies(stats: Stats) -> None:
    rates = (f"{format_rate(value)} {name}" for name, value in stats.rates._asdict().items())
    click.echo(f"per second: {', '.join(rates)}")
    click.echo()
    steps: dict[str, Latency | None] = {
        "send to deliver": stats.send_to_delivery,
        "deliver to ack": stats.delivery_to_ack,
    }
    echo_table(
        ("LATENCY", "SAMPLES", "P50", "P90", "P99", "MAX"),
        [
            (
                name,
                f"{latency.samples:,}",
                *map(format_duration, (latency.p50_s, latency.p90_s, latency.p99_s, latency.max_s)),
            )
            for name, latency in steps.items()
            if latency is not None
        ],
    )


def _echo_addresses(stats: Stats) -> None:
    rows = [
        (
            one.address,
            *(f"{count:,}" for count in (one.waiting, one.ready, one.delayed, one.in_flight, one.dead)),
            format_duration(one.oldest_s),
            format_rate(one.rate),
            f"{one.held:,}",
            one.host or "-",
        )
        for one in stats.addresses
    ]
    headings = ("ADDRESS", "WAITING", "READY", "DELAYED", "IN FLIGHT", "DEAD", "OLDEST", "RATE")
    _echo_linked(headings, ("HELD", "HOST"), rows, any(one.host or one.held for one in stats.addresses))
