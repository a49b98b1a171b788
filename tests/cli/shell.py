"""A shell user: runs `raven` commands as processes and looks at what they print and how they end."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

DEADLINE_S = 30


class Shell:
    """Runs commands in `folder`, with the bus in `folder/bus.db` and nothing of the caller's own settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = str(folder / "bus.db")
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAVEN", "_RAVEN", "NO_COLOR"))
        }
        self.environment = {**kept, "HOME": str(folder / "home"), "RAVEN_DB": self.db}
        (folder / "home").mkdir()

    def run(self, *arguments: str, stdin: str | bytes = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            self._command(arguments),
            input=data,
            capture_output=True,
            timeout=DEADLINE_S,
            cwd=self.folder,
            env={**self.environment, **environment},
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start one command and leave it running."""
        return subprocess.Popen(
            self._command(arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**self.environment, **environment},
        )

    def ok(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        """Run one command that must succeed and say nothing on stderr; return what it printed."""
        done = self.run(*arguments, stdin=stdin, **environment)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run one command that prints one JSON text."""
        return json.loads(self.ok(*arguments))

    def error(self, code: int, *arguments: str, stdin: str | bytes = "", **environment: str) -> str:
        """Run one command that must fail with this exit code and one line `error: ...`; return the line's text."""
        done = self.run(*arguments, stdin=stdin, **environment)
        assert done.returncode == code, done
        assert done.stdout == "", done
        lines = done.stderr.splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: "), done.stderr
        return lines[0].removeprefix("error: ")

    def on_terminal(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run one command whose stdout and stderr are a terminal; return its exit code and what the terminal got."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            self._command(arguments),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            cwd=self.folder,
            env={**self.environment, "TERM": "xterm-256color", **environment},
        )
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:
            pass  # Linux reports the other end's closing so.
        os.close(ours)
        return process.wait(DEADLINE_S), shown.decode()

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "raven", *arguments]
