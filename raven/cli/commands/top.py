"""`raven top`, and the full-screen terminal that it draws on."""

from __future__ import annotations

import locale
import os
import select
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import click

from raven.cli.options import DURATION, bus_option, open_observer
from raven.cli.output import escape, rate, size, span
from raven.errors import RavenError
from raven.wake.sigterm import raise_on_sigterm

if TYPE_CHECKING:
    import curses

    from raven.bus import BusView
    from raven.model.status import AddressStats, Stats

_COLUMNS = {"WAITING": 9, "BACKLOG": 11, "IN FLIGHT": 11, "OLDEST": 8, "RATE": 10}
_NARROWEST_NAME = 10
# The line of the headings, below the totals.
_HEADINGS = 4
QUIT = "q"
# For at most so long a signal can wait for its handler.
_SLICE_S = 1.0
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
    raise_on_sigterm()
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
        return _line(escape(self.name), (*counts, span(self.oldest_s), rate(self.rate)), name_columns)


class View:
    """What is shown: the newest look at the bus, by role or by address."""

    def __init__(self, bus: BusView) -> None:
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
        sizes = f"file {size(found.file_bytes)}   WAL {size(found.wal_bytes)}"
        return [
            f"raven top   {sizes}   {escape(self._bus.db_path)}",
            f"waiting {waiting:,}   backlog {backlog:,}   in flight {found.in_flight:,}   dead {found.dead:,}",
            "   ".join(f"{name} {rate(value)}/s" for name, value in found.rates._asdict().items()),
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
    right = (cell.rjust(width) for cell, width in zip(cells, _COLUMNS.values(), strict=True))
    return fitted(name, name_columns) + "".join(right)


class Screen:
    """A terminal in full-screen mode, with lines on it and keys from it.

    Each `draw` sends only what is different from the last.
    """

    def __init__(self, window: curses.window) -> None:
        self._window = window

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        lines, columns = self._window.getmaxyx()
        return columns, lines

    def draw(self, lines: Sequence[str], bold: int) -> None:
        """Show lines from the top, each cut to the width, one of them bold."""
        import curses

        columns, height = self.size
        encoding = self._window.encoding
        self._window.erase()
        for number, line in enumerate(lines[:height]):
            shown = fitted(line.encode(encoding, "backslashreplace").decode(encoding), columns).rstrip()
            # The cursor cannot move on from the last place of all: that is an error when all is written.
            with suppress(curses.error):
                self._window.addstr(number, 0, shown, curses.A_BOLD if number == bold else curses.A_NORMAL)
        self._window.refresh()

    def key(self, timeout_s: float) -> str | None:
        """Wait for a key, at most so long; None where there was none, or the size of the screen has changed.

        A terminal that is gone counts as `QUIT`: no wait for a key there would ever last.
        """
        self._window.timeout(max(0, round(1000 * min(timeout_s, _SLICE_S))))
        code = self._window.getch()
        if code < 0 and _is_gone(sys.stdin.fileno()):
            return QUIT
        return chr(code) if 0 <= code < 128 else None


@contextmanager
def full_screen() -> Iterator[Screen]:
    """Take the terminal for a full screen, and give it back as it was, however the block is left."""
    import curses

    locale.setlocale(locale.LC_ALL, "")
    try:
        window = curses.initscr()
        curses.noecho()
        curses.cbreak()
        window.keypad(True)
        with suppress(curses.error):
            curses.curs_set(0)
        yield Screen(window)
    finally:
        with suppress(curses.error):
            curses.endwin()


def check_terminal(instead: str) -> None:
    """Refuse what is no terminal that can show a full screen, and say what to use instead; raises UsageError."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError(f"this needs a terminal, and there is none: use {instead}")
    try:
        import curses
    except ImportError:
        raise click.UsageError(f"this needs curses, which this Python was built without: use {instead}") from None
    try:
        curses.setupterm(fd=sys.stdout.fileno())
        can_move = curses.tigetstr("cup")
    except curses.error:
        can_move = None
    if not can_move:
        kind = os.environ.get("TERM", "")
        raise click.UsageError(f"a terminal of the kind {kind!r} (TERM) cannot show a full screen: use {instead}")


def fitted(text: str, columns: int) -> str:
    """Return a text that takes so many columns: cut, or filled up with blanks."""
    taken = 0
    for place, char in enumerate(text):
        width = 0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if taken + width > columns:
            return text[:place] + " " * (columns - taken)
        taken += width
    return text + " " * (columns - taken)


def _is_gone(terminal: int) -> bool:
    poller = select.poll()
    poller.register(terminal, 0)
    return bool(poller.poll(0))
