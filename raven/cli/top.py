"""`raven top`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import click

from raven.cli import units
from raven.cli.options import DURATION, bus_option, open_observer
from raven.cli.output import escape
from raven.cli.screen import QUIT, check_terminal, fitted, full_screen
from raven.errors import RavenError
from raven.wake import sigterm as signals

if TYPE_CHECKING:
    from raven.model.status import AddressStats, Stats
    from raven.observer import BusObserver

_COLUMNS = {"WAITING": 9, "BACKLOG": 11, "IN FLIGHT": 11, "OLDEST": 8, "RATE": 10}
_NARROWEST_NAME = 10
# The line of the headings, below the totals.
_HEADINGS = 4
# A look takes at most this part of the time, however much there is to look at.
_SHARE = 0.1


@click.command(short_help="Watch live who waits, and how much waits for them.")
@click.option("--interval", type=DURATION, default="1s", show_default=True, help="How often to look.")
@bus_option
def top(interval: float, db: str | None) -> None:
    """Watch the bus live, by role: who waits for mail, how much mail waits for them, since when, and what comes in.

    Keys: a shows single addresses, or roles again; q ends it. BACKLOG is what nobody has in hand, RATE how many
    deliveries per second were sent there in the last minute. Consumes nothing, registers nobody.
    """
    if not 0.1 <= interval <= 3600:
        raise click.UsageError(f"--interval {interval:g} s is out of range: use 100ms to 1h")
    check_terminal(instead="`raven stats`")
    signals.unwind_on_sigterm()
    with open_observer(db) as bus:
        # The first look comes before the screen: what is wrong is then said as any command says it.
        view = View(bus)
        with full_screen() as screen:
            due = time.monotonic() + interval
            while True:
                screen.draw(view.lines(*screen.size), bold=_HEADINGS)
                key = screen.key(due - time.monotonic())
                if key == QUIT:
                    return
                if key == "a":
                    view.by_address = not view.by_address
                if time.monotonic() >= due:
                    due = time.monotonic() + max(interval, view.look() / _SHARE)


class Row(NamedTuple):
    """What one line of the table shows: an address, or all addresses of a role together."""

    name: str
    waiting: int = 0
    backlog: int = 0
    in_flight: int = 0
    oldest_s: float | None = None
    rate: float = 0.0

    def plus(self, one: AddressStats) -> Row:
        """Return the row with an address added."""
        return Row(
            self.name,
            self.waiting + one.waiting,
            self.backlog + one.backlog,
            self.in_flight + one.in_flight,
            max((age for age in (self.oldest_s, one.oldest_s) if age is not None), default=None),
            self.rate + one.rate,
        )

    def line(self, name_columns: int) -> str:
        """Return it as a line."""
        counts = (f"{count:,}" for count in (self.waiting, self.backlog, self.in_flight))
        return _line(escape(self.name), (*counts, units.span(self.oldest_s), units.rate(self.rate)), name_columns)


class View:
    """What is shown: the newest look at the bus, by role or by address."""

    def __init__(self, bus: BusObserver) -> None:
        self._bus = bus
        self._stats: Stats = bus.stats(full=False)
        self._trouble = ""
        self.by_address = False

    def look(self) -> float:
        """Look again, and return how many seconds it took; trouble that may be over the next time is only shown."""
        began = time.monotonic()
        try:
            self._stats, self._trouble = self._bus.stats(full=False), ""
        except RavenError as error:
            if not error.retryable:
                raise
            self._trouble = escape(" ".join(str(error).split()))
        return time.monotonic() - began

    def lines(self, columns: int, height: int) -> list[str]:
        """Return the lines for a screen of this size: totals, the table, the keys on the last line."""
        rows = self._rows()
        name_columns = max(_NARROWEST_NAME, columns - sum(_COLUMNS.values()))
        room = max(0, height - _HEADINGS - 2)
        shown = rows if len(rows) <= room else rows[: max(0, room - 1)]
        table = [row.line(name_columns) for row in shown]
        if len(shown) < len(rows):
            table.append(f"... and {len(rows) - len(shown):,} more")
        keys = self._trouble or f"q quit   a {'by role' if self.by_address else 'by address'}"
        headings = _line("ADDRESS" if self.by_address else "ROLE", tuple(_COLUMNS), name_columns)
        return [*self._totals(), headings, *table, *[""] * (room - len(table)), keys]

    def _totals(self) -> list[str]:
        found = self._stats
        waiting = sum(one.waiting for one in found.addresses)
        backlog = found.ready + found.delayed
        sizes = f"file {units.size(found.file_bytes)}   WAL {units.size(found.wal_bytes)}"
        return [
            f"raven top   {sizes}   {escape(self._bus.db_path)}",
            f"waiting {waiting:,}   backlog {backlog:,}   in flight {found.in_flight:,}   dead {found.dead:,}",
            "   ".join(f"{name} {units.rate(value)}/s" for name, value in found.rates._asdict().items()),
            "",
        ]

    def _rows(self) -> list[Row]:
        """Return the rows, the largest backlog first."""
        rows: dict[str, Row] = {}
        for one in self._stats.addresses:
            name = one.address if self.by_address else one.role
            rows[name] = rows.get(name, Row(name)).plus(one)
        return sorted(rows.values(), key=lambda row: (-row.backlog, -row.in_flight, row.name))


def _line(name: str, cells: tuple[str, ...], name_columns: int) -> str:
    right = (cell.rjust(size) for cell, size in zip(cells, _COLUMNS.values(), strict=True))
    return fitted(name, name_columns) + "".join(right)
