"""Terminal: a program in a terminal of tmux, to type in and to look at."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from scripts.harness.deadline import wait_until

_COLUMNS, _LINES = 160, 50


class Terminal:
    """A program with a terminal of its own and with the given environment alone; it ends with the `with` block."""

    def __init__(self, socket: Path, command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
        self._socket = socket
        self._environment = environment
        start = ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), *command]
        size = ("-x", str(_COLUMNS), "-y", str(_LINES))
        shell = f"{shlex.join(start)}; echo ended with $?; exec cat"
        self._tmux("new-session", "-d", *size, "-c", str(cwd), shell)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _tmux(self, *arguments: str, check: bool = True) -> str:
        # TMUX of a surrounding terminal must not reach this one.
        environment = {"PATH": self._environment["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        command = ["tmux", "-S", str(self._socket), "-f", "/dev/null", *arguments]
        return subprocess.run(
            command, env=environment, check=check, capture_output=True, text=True, encoding="utf-8"
        ).stdout

    def type(self, text: str) -> None:
        """Type a text, and press Enter."""
        self._tmux("send-keys", "-l", text)
        wait_until(lambda: text[-40:] in self.screen(), f"the typed text {text!r} on the screen", 10, 0.05)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Press keys by the names that tmux has for them."""
        self._tmux("send-keys", *keys)

    def screen(self) -> str:
        """Return the text on the screen; lines that the terminal has wrapped are joined."""
        return self._tmux("capture-pane", "-p", "-J")

    def wait_for(self, text: str, timeout_s: float = 30) -> str:
        """Wait until a text is on the screen, and return the screen; AssertionError with the screen if it is not."""
        try:
            wait_until(lambda: text in self.screen(), text, timeout_s, 0.05)
        except AssertionError as error:
            raise AssertionError(f"the screen does not show {text!r}:\n{self.screen().rstrip()}") from error
        return self.screen()

    def close(self) -> None:
        """End the program and its terminal; a second call does nothing."""
        self._tmux("kill-server", check=False)
