"""A terminal: runs a command in a pseudo terminal of a given size, and keeps the text of its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

from tests.cli.shell import DEADLINE_S, Shell
from tests.support import PROGRAMS

OWNER = [sys.executable, str(PROGRAMS / "terminal_owner.py")]
# One control sequence, or one character.
_PIECE = re.compile(r"\x1b\[([?>]?)([\d;]*)([@-~])|\x1b[()].|\x1b[=>78]|[\s\S]")
# A read may cut off a sequence or a character at its end.
_BEGUN = re.compile(rb"(\x1b(\[[^@-~]*|[()])?|[\xc0-\xff][\x80-\xbf]*)$")


class Terminal:
    """An xterm, as far as curses uses one; `alternate` is whether the alternate screen is shown.

    A command that is not the `owner` of its terminal gets no signals from it, not even when it is hung up.
    """

    def __init__(
        self, shell: Shell, *arguments: str, columns: int = 80, lines: int = 24, owner: bool = True, **environment: str
    ) -> None:
        self.stream = ""
        self.alternate = False
        self._pending = b""
        self._last = " "
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, lines)
        self._modes = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            [*(OWNER if owner else []), *shell._command(arguments)],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            cwd=shell.folder,
            env={**shell.environment, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment},
        )

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Change the size, of which the command hears by a signal; the screen is blank until it has drawn anew."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._columns, self._lines = columns, lines
        self._cells = [[" "] * columns for _ in range(lines)]
        self._row = self._column = 0

    def wait_for(self, condition: Callable[[list[str]], Any], what: str) -> list[str]:
        """Read until a condition holds for the lines of the screen, and return them."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition(self.screen()):
            has_ended = self.process.poll() is not None
            has_more = self._read(0.5)
            in_vain = time.monotonic() > deadline or (has_ended and not has_more)
            assert not in_vain, f"waited in vain for {what}; on the screen:\n" + "\n".join(self.screen())
        return self.screen()

    def shows(self, text: str) -> list[str]:
        """Read until a text stands on the screen, and return its lines."""
        return self.wait_for(lambda lines: text in "\n".join(lines), repr(text))

    def screen(self) -> list[str]:
        return ["".join(line).rstrip() for line in self._cells]

    def end(self) -> int:
        """Read to the end of the command, and return its exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the command has not ended"
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.returncode

    def is_as_before(self) -> bool:
        """Whether the terminal has the modes, and shows the screen, that it had before the command."""
        return not self.alternate and termios.tcgetattr(self._theirs) == self._modes

    def hang_up(self) -> None:
        """Take the terminal away."""
        os.close(self._theirs)
        os.close(self._ours)
        self._ours = -1

    def close(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
        if self._ours >= 0:
            self.hang_up()

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._ours], [], [], timeout_s)[0]:
            return False
        self._pending += os.read(self._ours, 1 << 16)
        whole = _BEGUN.sub(b"", self._pending)
        self._pending = self._pending[len(whole) :]
        text = whole.decode()
        self.stream += text
        for piece in _PIECE.finditer(text):
            mark, numbers, verb = piece.groups()
            if verb is None:
                self._put(piece[0])
            elif mark == "?" and numbers == "1049":
                self.alternate = verb == "h"
            elif not mark and verb not in "mrhlt":
                self._control(verb, [int(number or 0) for number in numbers.split(";")])
        return True

    def _put(self, char: str) -> None:
        if char == "\r":
            self._column = 0
        elif char == "\n":
            self._move(self._row + 1, self._column)
        elif char == "\b":
            self._move(self._row, self._column - 1)
        elif char.isprintable():
            if self._column >= self._columns:
                self._move(self._row + 1, 0)
            self._cells[self._row][self._column] = self._last = char
            self._column += 1

    def _move(self, row: int, column: int) -> None:
        self._row, self._column = min(max(0, row), self._lines - 1), min(max(0, column), self._columns - 1)

    def _control(self, verb: str, numbers: list[int]) -> None:
        count = max(1, numbers[0])
        row, column = self._row, self._column
        moves = {
            "H": (count - 1, max(1, [*numbers, 1][1]) - 1),
            "d": (count - 1, column),
            "G": (row, count - 1),
            "A": (row - count, column),
            "B": (row + count, column),
            "C": (row, column + count),
            "D": (row, column - count),
        }
        if verb in moves:
            self._move(*moves[verb])
        elif verb == "b":
            for _ in range(count):
                self._put(self._last)
        elif verb == "J":
            erased = {0: range(row + 1, self._lines), 1: range(row), 2: range(self._lines)}[numbers[0]]
            for other in erased:
                self._cells[other] = [" "] * self._columns
            self._edit("K", numbers[0], self._cells[row])
        else:
            self._edit(verb, numbers[0], self._cells[row])

    def _edit(self, verb: str, number: int, line: list[str]) -> None:
        """Erase, delete or insert in the line of the cursor."""
        here, count = self._column, max(1, number)
        before, after = line[:here], line[here:]
        edited = {
            "K": {0: before, 1: [" "] * (here + 1) + after[1:], 2: []}.get(number, []),
            "X": before + [" "] * count + after[count:],
            "P": before + after[count:],
            "@": before + [" "] * count + after,
        }[verb]
        line[:] = (edited + [" "] * self._columns)[: self._columns]
