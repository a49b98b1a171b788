"""A shell user: runs `raven` commands, and reads their output and exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from raven.cli.app import run

DEADLINE_S = 30
# pytest-xdist sets COLUMNS and LINES, and curses takes them for the size of any terminal.
CALLERS_OWN = ("RAVEN", "_RAVEN", "NO_COLOR", "COLUMNS", "LINES")
STREAMS = ("stdin", "stdout", "stderr")


@contextmanager
def in_the_place_of_a_process(folder: Path, environment: Mapping[str, str], stdin: bytes) -> Iterator[list[bytes]]:
    """Give this process a process's folder, environment, streams and signals until the end of the block.

    The streams are files under the numbers 0, 1 and 2, so that the children have them, too. Yields a list, which
    receives stdout and stderr at the end.
    """
    output: list[bytes] = []
    with ExitStack() as back:
        back.callback(os.chdir, os.getcwd())
        os.chdir(folder)
        back.callback(_set_environment, dict(os.environ))
        _set_environment(environment)
        for number, handler in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGALRM, _give_up)):
            back.callback(signal.signal, number, signal.signal(number, handler))
        files = [back.enter_context(tempfile.TemporaryFile()) for _ in STREAMS]
        files[0].write(stdin)
        files[0].seek(0)
        for number, (name, file) in enumerate(zip(STREAMS, files, strict=True)):
            kept = os.dup(number)
            back.callback(os.close, kept)
            back.callback(os.dup2, kept, number)
            back.callback(setattr, sys, name, getattr(sys, name))
            os.dup2(file.fileno(), number)
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            back.callback(stream.close)
            setattr(sys, name, stream)
        back.callback(signal.alarm, 0)
        signal.alarm(DEADLINE_S)
        yield output
        for stream, file in zip((sys.stdout, sys.stderr), files[1:], strict=True):
            stream.flush()
            file.seek(0)
            output.append(file.read())


def _set_environment(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _give_up(number: int, frame: FrameType | None) -> NoReturn:
    raise AssertionError(f"the command has not ended within {DEADLINE_S} s")


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of a command; return its exit code, its stdout and its stderr."""
    printed, complained = process.communicate(timeout=DEADLINE_S)
    return process.returncode, printed, complained


class Shell:
    """Runs commands in `folder`, with the bus in `folder/bus.db` and nothing of the caller's own settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = str(folder / "bus.db")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(CALLERS_OWN)}
        self.environment = {**kept, "HOME": str(folder / "home"), "RAVEN_DB": self.db}
        (folder / "home").mkdir()

    def run(self, *arguments: str, stdin: str | bytes = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end in this process, as a process of its own would: a twentieth of its time."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        with in_the_place_of_a_process(self.folder, {**self.environment, **environment}, data) as output:
            try:
                code = run(list(arguments))
            except SystemExit as ending:
                code = int(ending.code or 0)
        return subprocess.CompletedProcess(self._command(arguments), code, *(text.decode() for text in output))

    def run_process(
        self, *arguments: str, stdin: str | bytes = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end in a process of its own, for a test of the process."""
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
        """Run one command that must succeed and say nothing on stderr; return its stdout."""
        done = self.run(*arguments, stdin=stdin, **environment)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run one command that prints one JSON text."""
        return json.loads(self.ok(*arguments))

    def state(self, message_id: int) -> str:
        return str(self.json("read", str(message_id), "-j")["state"])

    def receipt(self, message_id: int | str) -> dict[str, Any]:
        """Return the receipt of a message of one recipient."""
        [receipt] = self.json("receipts", str(message_id), "-j")["receipts"]
        return dict(receipt)

    def error(self, code: int, *arguments: str, stdin: str | bytes = "", **environment: str) -> str:
        """Run one command that must fail with this exit code and one line `error: ...`; return the line's text."""
        done = self.run(*arguments, stdin=stdin, **environment)
        assert done.returncode == code, done
        assert done.stdout == "", done
        lines = done.stderr.splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: "), done.stderr
        return lines[0].removeprefix("error: ")

    def on_terminal(self, *arguments: str, typed: str | None = None, **environment: str) -> tuple[int, str]:
        """Run one command whose stdout and stderr are a terminal; return its exit code and what the terminal got.

        If something is typed, be it nothing, its stdin is the terminal, too.
        """
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            self._command(arguments),
            stdin=subprocess.DEVNULL if typed is None else theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self.folder,
            env={**self.environment, "TERM": "xterm-256color", **environment},
            start_new_session=True,
        )
        os.close(theirs)
        os.write(ours, (typed or "").encode())
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
