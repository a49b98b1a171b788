"""Plan: the steps of one installation, done in order; all are taken back if one fails, or the server does not start."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from raven_mcp.install import files
from raven_mcp.install.entries import Program
from raven_mcp.install.files import FailedError, RefusedError, Step
from raven_mcp.install.handshake import count_tools

_COMMAND_TIMEOUT_S = 60


class Order(NamedTuple):
    """The installation that a user asks for."""

    program: Program
    scope: str = "user"
    hooks: bool = True
    allow: bool = False
    is_uninstall: bool = False


class Plan(NamedTuple):
    """The steps for one host, a function that finds the server they install, and words for the user at the end."""

    host: str
    steps: Sequence[Step]
    find_server: Callable[[], Sequence[str]] | None = None
    notes: Sequence[str] = ()

    def carry_out(self) -> int:
        """Do all steps and start the server once; return how many tools it has, 0 if none is to be installed.

        Raises FailedError or RefusedError, after all steps that were done are taken back.
        """
        done: list[Step] = []
        try:
            for step in self.steps:
                step.apply()
                done.append(step)
            return count_tools(self.find_server()) if self.find_server is not None else 0
        except BaseException as error:
            left = _take_back(done)
            if isinstance(error, OSError):
                where = f"{error.filename}: " if error.filename else ""
                error = FailedError(f"{where}{error.strerror or error}")
            if not isinstance(error, FailedError | RefusedError):
                raise
            end = f"; could not take back: {', '.join(left)}" if left else "; nothing was changed"
            raise type(error)(f"{error}{end}") from None


class Run:
    """A step that runs a program of the host; it is taken back by another run, and by the old bytes of some files."""

    def __init__(self, command: Sequence[str], undo: Sequence[str] = (), restores: Sequence[str] = ()) -> None:
        self._command, self._undo, self._restores = command, undo, restores
        self._kept: dict[str, bytes | None] = {}

    def preview(self) -> str:
        """Return the command."""
        return f"run {shlex.join(self._command)}"

    def apply(self) -> None:
        """Run the command; raises FailedError with the end of its output if it fails."""
        self._kept = {path: files.read(path) for path in self._restores}
        try:
            _run(self._command)
        except BaseException:
            self._restore()
            raise

    def undo(self) -> None:
        """Run the opposite command, and restore the files."""
        if self._undo:
            with suppress(FailedError):
                _run(self._undo)
        self._restore()

    def _restore(self) -> None:
        for path, data in self._kept.items():
            current = files.read(path)
            if current != data:
                files.Change(path, current, data).apply()


class Later:
    """A step whose changes are known only after the steps before it."""

    def __init__(self, words: str, plan: Callable[[], Sequence[Step]]) -> None:
        self._words, self._plan = words, plan
        self._done: list[Step] = []

    def preview(self) -> str:
        """Return the words for the changes."""
        return self._words

    def apply(self) -> None:
        """Do the changes."""
        for step in self._plan():
            step.apply()
            self._done.append(step)

    def undo(self) -> None:
        """Take the changes back."""
        while self._done:
            self._done.pop().undo()


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 it is the command that was just shown to the user
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FailedError(f"`{shlex.join(command)}` has not ended within {_COMMAND_TIMEOUT_S} s") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise FailedError(f"`{shlex.join(command)}` failed: {lines[-1]}")


def _take_back(done: list[Step]) -> list[str]:
    """Take the steps back, the last first; return the ones that failed to go back."""
    left = []
    for step in reversed(done):
        try:
            step.undo()
        except (OSError, RefusedError):
            left.append(step.preview().splitlines()[0])
    return left
