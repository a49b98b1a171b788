"""What the doctor says of a bus: from here, from a process with fewer rights, and from a small disk of its own."""

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


def look(db: str, **settings: Any) -> dict[str, Check]:
    """Return all checks of a bus by their names."""
    checks = list(examine(Config(db, "the test", **settings)))
    assert len({check.name for check in checks}) == len(checks), checks
    return {check.name: check for check in checks}


def trouble(checks: dict[str, Check]) -> dict[str, Check]:
    """Return the checks that are not ok, but for mail that waits for nobody."""
    return {name: check for name, check in checks.items() if check.verdict != "ok" and name != "backlog"}


def assert_told(check: Check, verdict: str, *words: object) -> None:
    """Demand a verdict, and that what was found and its remedy name these values."""
    assert check.verdict == verdict, check
    assert check.remedy, check
    for word in words:
        assert str(word) in f"{check.found} -> {check.remedy}", check


def squat(path: Path, kind: str) -> None:
    """Put something of this kind at a path."""
    if kind == "a file":
        path.write_text("squatter")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a symlink":
        path.symlink_to(f"{path}.elsewhere")
    else:
        os.mkfifo(path)


class Examiner:
    """The doctor in a process of its own, with limits, rights or a disk of its own."""

    def __init__(self, program: Program) -> None:
        self.program = program
        refusal = program.read()
        if refusal is not None:
            pytest.skip(refusal)

    @classmethod
    def on_small_disk(cls, spawn: Callable[..., Program], db: str, folder: object, options: str) -> Self:
        """Start one that sees a tmpfs with these options in `folder`; skips where none can be mounted."""
        return cls(spawn("doctor", db, folder, options))

    @classmethod
    def without_rights(cls, spawn: Callable[..., Program], db: str) -> Self:
        """Start one that permissions bind even where it is root's; skips where that cannot be done."""
        examiner = cls(spawn("doctor", db))
        if examiner.program.ask(["drop_rights"]) != 0:
            pytest.skip("root cannot give up its rights here")
        return examiner

    def look(self) -> dict[str, Check]:
        """Return all checks by their names."""
        return {check["name"]: Check(**check) for check in self.program.ask(["look"])}

    def make(self) -> str | None:
        """Make the bus, or use it; returns an error in words, or None."""
        refusal: str | None = self.program.ask(["make"])
        return refusal

    def fill(self, file: object, bytes_left: int) -> None:
        """Make a file that takes all room on its disk but so much."""
        self.program.ask(["fill", str(file), bytes_left])

    def use_up_inotify(self, *, give_back: bool = False) -> int:
        """Let it take all instances of inotify, or give them back; returns how many it holds then."""
        held: int = self.program.ask(["use_up_inotify", give_back])
        return held

    def allow_watches(self, count: int) -> None:
        """Allow it so many watches of inotify; skips where that cannot be done."""
        refusal = self.program.ask(["allow_watches", count])
        if refusal is not None:
            pytest.skip(refusal)

    def run(self, *words: object) -> None:
        """Run a command beside it, which must succeed."""
        said = self.program.ask(["run", f"{shlex.join(map(str, words))} || echo failed >&2"])
        assert not said, said

    def try_to_run(self, *words: object) -> str:
        """Run a command beside it, and return what it says on stderr."""
        said: str = self.program.ask(["run", shlex.join(map(str, words))])
        return said

    def limit(self, name: str, soft: int | None) -> None:
        """Set one of its limits, or make it as high as it may be."""
        self.program.ask(["limit", name, soft])
