"""The doctor's checks: in this process, in one with fewer rights, and on a small disk."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from raven.config import Config
from raven.doctor.examine import Check, examine
from tests.support import Program


def run_checks(db: str, **settings: Any) -> dict[str, Check]:
    """Return all checks of a bus by their names."""
    checks = list(examine(Config(db, "the test", **settings)))
    assert len({check.name for check in checks}) == len(checks), checks
    return {check.name: check for check in checks}


def problems(checks: dict[str, Check]) -> dict[str, Check]:
    """Return the checks that are not ok, except the backlog."""
    return {name: check for name, check in checks.items() if check.verdict != "ok" and name != "backlog"}


def assert_reports(check: Check, verdict: str, *words: object) -> None:
    """Check the verdict, and that the finding or its remedy contains these values."""
    assert check.verdict == verdict, check
    assert check.remedy, check
    for word in words:
        assert str(word) in f"{check.found} -> {check.remedy}", check


def put_file(path: Path, kind: str) -> None:
    """Create a file of this kind at a path."""
    if kind == "a file":
        path.write_text("foreign")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a symlink":
        path.symlink_to(f"{path}.elsewhere")
    else:
        os.mkfifo(path)


class DoctorProcess:
    """The doctor in another process, with its own limits, rights or disk."""

    def __init__(self, program: Program) -> None:
        self.program = program
        error = program.read()
        if error is not None:
            pytest.skip(error)

    @classmethod
    def on_small_disk(cls, spawn: Callable[..., Program], db: str, folder: object, options: str) -> Self:
        """Start it with a tmpfs of these options on `folder`; skip the test if none can be mounted."""
        return cls(spawn("doctor", db, folder, options))

    @classmethod
    def without_rights(cls, spawn: Callable[..., Program], db: str) -> Self:
        """Start it without root's exemption from permissions; skip the test if that is impossible."""
        process = cls(spawn("doctor", db))
        if process.program.ask(["drop_rights"]) != 0:
            pytest.skip("root cannot give up its rights here")
        return process

    def run_checks(self) -> dict[str, Check]:
        """Return all checks by their names."""
        return {check["name"]: Check(**check) for check in self.program.ask(["run_checks"])}

    def open_bus(self) -> str | None:
        """Create or open the bus; return the error message, or None."""
        error: str | None = self.program.ask(["open_bus"])
        return error

    def fill(self, file: object, bytes_left: int) -> None:
        """Create a file that fills its disk up to this many free bytes."""
        self.program.ask(["fill", str(file), bytes_left])

    def use_up_inotify(self, *, free: bool = False) -> int:
        """Take all inotify instances, or free them; return how many it holds then."""
        held: int = self.program.ask(["use_up_inotify", free])
        return held

    def allow_watches(self, count: int) -> None:
        """Limit its inotify watches; skip the test if that is impossible."""
        error = self.program.ask(["allow_watches", count])
        if error is not None:
            pytest.skip(error)

    def run(self, *words: object) -> None:
        """Run a command in its namespace; it must succeed."""
        stderr = self.program.ask(["run", f"{shlex.join(map(str, words))} || echo failed >&2"])
        assert not stderr, stderr

    def try_to_run(self, *words: object) -> str:
        """Run a command in its namespace, and return its stderr."""
        stderr: str = self.program.ask(["run", shlex.join(map(str, words))])
        return stderr

    def limit(self, name: str, soft: int | None) -> None:
        """Set one of its limits, or raise it to the maximum."""
        self.program.ask(["limit", name, soft])
