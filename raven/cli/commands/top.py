"""`raven top`, and the full-screen terminal that it draws on."""

from __future__ import annotations

import locale
import os
import select
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import click

from raven.cli.command import Documented
from raven.cli.options import DURATION, bus_option, open_observer
from raven.cli.output import escape, format_duration, format_rate, format_size
from raven.errors import RavenError, abbreviate
from raven.wake.sigterm import raise_on_sigterm

if TYPE_CHECKING:
    import curses

    from raven.bus import BusView
    from raven.model.status import AddressStats, Stats

_COLUMNS = {"WAITING": 9, "BACKLOG": 11, "IN FLIGHT": 11, "OLDEST": 8, "RATE": 10}
# These two besides, on a bus with a link.
_LINK_COLUMNS = {"HELD": 7, "HOST": 12}
_MIN_NAME_COLUMNS = 10
# Number of the line with the headings, below the totals.
_HEADINGS = 4
QUIT = "q"
# The longest wait in curses: a signal handler runs only after it.
_MAX_WAIT_S = 1.0
# Polls take at most this share of the time, however large the bus is.
_SHARE = 0.1


@click.command(
    cls=Documented,
    short_help="Show listeners, queues and rates live.",
    example="raven top --interval 500ms",
)
@click.option("--interval", type=DURATION, default="1s", show_default=True, help="Time between updates.")
@bus_option
def top(interval: float, db: str | None) -> None:
    """Show live for each role: listeners, queued messages, age of the oldest, and rate of new ones.

    Keys: a toggles between addresses and roles; q quits. BACKLOG: unacked messages that no consumer has claimed. RATE:
    new deliveries per second over the last minute. On a bus with a link, HELD: unacked messages that other hosts have,
    and HOST: the other host at which the address is used. Changes no message and registers no address.
    """
    if not 0.1 <= interval <= 3600:
        raise click.UsageError(f"--interval {interval:g} s is out of range: use 100ms to 1h")
    check_terminal(alternative="`raven stats`")
    raise_on_sigterm()
    with open_observer(db) as bus:
        # The first poll comes before the screen, so that an error is printed as by any command.
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
                    due = time.monotonic() + max(interval, view.poll() / _SHARE)


class Row(NamedTuple):
    """One line of the table: an address, or the sums of a role."""

    name: str
    waiting: int = 0
    backlog: int = 0
    in_flight: int = 0
    oldest_s: float | None = None
    rate: float = 0.0
    held: int = 0
    hosts: frozenset[str] = frozenset()

    def plus(self, stats: AddressStats) -> Row:
        """Return the sum of this row and an address."""
        return Row(
            self.name,
            self.waiting + stats.waiting,
            self.backlog + stats.backlog,
            self.in_flight + stats.in_flight,
            max((age for age in (self.oldest_s, stats.oldest_s) if age is not None), default=None),
            self.rate + stats.rate,
            self.held + stats.held,
            self.hosts | ({stats.host} if stats.host else set()),
        )

    def line(self, columns: Mapping[str, int], name_columns: int) -> str:
        """Return the row as text."""
        counts = (f"{count:,}" for count in (self.waiting, self.backlog, self.in_flight))
        host = f"{len(self.hosts)} hosts" if len(self.hosts) > 1 else next(iter(self.hosts), "-")
        host = fit(escape(host), _LINK_COLUMNS["HOST"] - 2).rstrip()
        cells = (*counts, format_duration(self.oldest_s), format_rate(self.rate), f"{self.held:,}", host)
        return _line(escape(self.name), cells, columns, name_columns)


class View:
    """The newest figures of the bus as lines of text, by role or by address."""

    def __init__(self, bus: BusView) -> None:
        self._bus = bus
        self._stats: Stats = bus.stats(full=False)
        self._error = ""
        self.by_address = False

    def poll(self) -> float:
        """Read the figures again, and return how many seconds that took; a retryable error is only displayed."""
        start = time.monotonic()
        try:
            self._stats, self._error = self._bus.stats(full=False), ""
        except RavenError as error:
            if not error.retryable:
                raise
            self._error = escape(" ".join(str(error).split()))
        return time.monotonic() - start

    def lines(self, columns: int, height: int) -> list[str]:
        """Return the lines for a screen of this size: totals, the table, the keys on the last line."""
        rows = self._rows()
        shown = _COLUMNS | _LINK_COLUMNS if any(row.held or row.hosts for row in rows) else _COLUMNS
        name_columns = max(_MIN_NAME_COLUMNS, columns - sum(shown.values()))
        capacity = max(0, height - _HEADINGS - 2)
        visible = rows if len(rows) <= capacity else rows[: max(0, capacity - 1)]
        table = [row.line(shown, name_columns) for row in visible]
        if len(visible) < len(rows):
            table.append(f"... and {len(rows) - len(visible):,} more")
        keys = self._error or f"q quit   a {'by role' if self.by_address else 'by address'}"
        headings = _line("ADDRESS" if self.by_address else "ROLE", tuple(shown), shown, name_columns)
        return [*self._totals(), headings, *table, *[""] * (capacity - len(table)), keys]

    def _totals(self) -> list[str]:
        stats = self._stats
        waiting = sum(address.waiting for address in stats.addresses)
        backlog = stats.ready + stats.delayed
        sizes = f"file {format_size(stats.file_bytes)}   WAL {format_size(stats.wal_bytes)}"
        return [
            f"raven top   {sizes}   {escape(self._bus.db_path)}",
            f"waiting {waiting:,}   backlog {backlog:,}   in flight {stats.in_flight:,}   dead {stats.dead:,}"
            + (f"   held {stats.held:,}" if stats.held else ""),
            "   ".join(f"{name} {format_rate(value)}/s" for name, value in stats.rates._asdict().items()),
            "",
        ]

    def _rows(self) -> list[Row]:
        """Return the rows, the largest backlog first."""
        rows: dict[str, Row] = {}
        for stats in self._stats.addresses:
            name = stats.address if self.by_address else stats.role
            rows[name] = rows.get(name, Row(name)).plus(stats)
        return sorted(rows.values(), key=lambda row: (-row.backlog, -row.in_flight, row.name))


def _line(name: str, cells: tuple[str, ...], columns: Mapping[str, int], name_columns: int) -> str:
    """Return a line of the table, with as many of the cells as there are columns."""
    right = (cell.rjust(width) for cell, width in zip(cells, columns.values(), strict=False))
    return fit(name, name_columns) + "".join(right)


class Screen:
    """A terminal in full-screen mode: `draw` writes lines to it, `key` reads from it.

    Each `draw` sends only the changes to the terminal.
    """

    def __init__(self, window: curses.window) -> None:
        self._window = window

    @property
    def size(self) -> tuple[int, int]:
        """The current columns and lines of the terminal."""
        lines, columns = self._window.getmaxyx()
        return columns, lines

    def draw(self, lines: Sequence[str], bold: int) -> None:
        """Draw lines from the top, each cut to the width; line number `bold` is bold."""
        import curses

        columns, height = self.size
        encoding = self._window.encoding
        self._window.erase()
        for number, line in enumerate(lines[:height]):
            text = fit(line.encode(encoding, "backslashreplace").decode(encoding), columns).rstrip()
            # curses raises an error after the last cell of the screen, from which the cursor cannot move on.
            with suppress(curses.error):
                self._window.addstr(number, 0, text, curses.A_BOLD if number == bold else curses.A_NORMAL)
        self._window.refresh()

    def key(self, timeout_s: float) -> str | None:
        """Wait up to `timeout_s` for a key; returns None if none came or the screen was resized.

        Returns `QUIT` if the terminal is closed: a wait for its keys would return at once, again and again.
        """
        self._window.timeout(max(0, round(1000 * min(timeout_s, _MAX_WAIT_S))))
        code = self._window.getch()
        if code < 0 and _is_closed(sys.stdin.fileno()):
            return QUIT
        return chr(code) if 0 <= code < 128 else None


@contextmanager
def full_screen() -> Iterator[Screen]:
    """Switch the terminal to full-screen mode, and restore it at the end of the block, after an exception too."""
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


def check_terminal(alternative: str) -> None:
    """Raise UsageError unless stdin and stdout are a terminal that supports full-screen mode.

    `alternative` is the command that the error recommends.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError(f"this needs a terminal: use {alternative}")
    try:
        import curses
    except ImportError:
        raise click.UsageError(f"this needs curses, which this Python was built without: use {alternative}") from None
    try:
        curses.setupterm(fd=sys.stdout.fileno())
        can_move = curses.tigetstr("cup")
    except curses.error:
        can_move = None
    if not can_move:
        kind = os.environ.get("TERM", "")
        raise click.UsageError(
            f"a terminal of the kind {abbreviate(kind)} (TERM) cannot show a full screen: use {alternative}"
        )


def fit(text: str, columns: int) -> str:
    """Return a text of exactly `columns` columns: cut, or padded with blanks."""
    used = 0
    for index, char in enumerate(text):
        width = 0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if used + width > columns:
            return text[:index] + " " * (columns - used)
        used += width
    return text + " " * (columns - used)


def _is_closed(terminal: int) -> bool:
    poller = select.poll()
    poller.register(terminal, 0)
    return bool(poller.poll(0))
