"""Screen: a terminal in full-screen mode, with lines on it and keys from it."""

from __future__ import annotations

import locale
import os
import select
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import curses

QUIT = "q"
# For at most so long a signal can wait for its handler.
_SLICE_S = 1.0


class Screen:
    """The screen while it is full; each `draw` sends only what is different from the last."""

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
