"""Screen: the lines of the demo, at most 80 columns wide; in colour only on a terminal and without NO_COLOR."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from raven import Message

WIDTH = 80
_BOLD, _RED, _GREEN, _CYAN = 1, 31, 32, 36


class Screen:
    """Prints each line at once, so that the output is live in a pipe as well."""

    def __init__(self) -> None:
        self._has_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def line(self, text: str = "") -> None:
        """Print a line, cut to the width of the screen."""
        self._print(text[:WIDTH])

    def heading(self, name: str, text: str = "") -> None:
        """Print the heading of a section after an empty line; its text stands at the right margin."""
        print()
        self._print(self._coloured(_BOLD, name) + text.rjust(WIDTH - len(name)))

    def agent(self, address: str, language: str, pid: int, task: str) -> None:
        """Print the line of an agent."""
        self._print(f"  {self._coloured(_CYAN, f'{address:<16}')}{language:<8}pid {pid:<7}{task[:43]}")

    def message(self, message: Message, text: str, delivery_ms: float) -> None:
        """Print a message in one line: its id, sender and recipient, a text, and the time from send to delivery."""
        text = f"{message.type} {text}"
        time = f"{_milliseconds(delivery_ms)} ms"
        self._print(
            f"  {f'#{message.id}':<7}{self._coloured(_CYAN, f'{message.sender:<14}')} -> "
            f"{self._coloured(_CYAN, f'{message.to:<14}')}  {text[:27]:<27}{self._coloured(_GREEN, f'{time:>10}')}"
        )

    def times(self, times: Sequence[tuple[str, float]]) -> None:
        """Print the time from send to delivery for each recipient of a broadcast."""
        self._print(
            "         " + "   ".join(f"{name} {self._coloured(_GREEN, _milliseconds(ms))}" for name, ms in times)
        )

    def alarm(self, text: str) -> None:
        """Print a line in red."""
        self._print(self._coloured(_RED, text[:WIDTH]))

    def command(self, purpose: str, command: str) -> None:
        """Print a command to copy; it is never cut."""
        self._print(f"  {purpose:<24}{self._coloured(_BOLD, command)}")

    def _coloured(self, colour: int, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._has_colour else text

    @staticmethod
    def _print(text: str) -> None:
        print(text.rstrip(), flush=True)


def _milliseconds(ms: float) -> str:
    """Return a time with three significant digits."""
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"
