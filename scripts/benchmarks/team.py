"""Team: programs that get ready, begin at one signal, and report in the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from scripts.harness.program import Program

_WORK_S = 300


class Team:
    """A program for each module and its arguments; entered, all of them are ready."""

    def __init__(self, members: Sequence[Sequence[str]]) -> None:
        self._members = members
        self._programs: list[Program] = []
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for module, *arguments in self._members:
                self._programs.append(stack.enter_context(Program(f"benchmarks.{module}", *arguments)))
            for program in self._programs:
                program.line()
            self._ending = stack.pop_all()
        return self

    def go(self) -> None:
        """Let all begin."""
        for program in self._programs:
            program.tell("go")

    def check(self) -> None:
        """Raise RuntimeError where one has ended."""
        if any(program.has_ended for program in self._programs):
            raise RuntimeError(f"one of {self._members} has ended")

    def reports(self) -> list[Any]:
        """Wait for what each prints as JSON."""
        return [json.loads(program.line(_WORK_S)) for program in self._programs]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.close()


def wait_for_go() -> None:
    """Say that this program is ready, and wait for the signal; ends it where none comes any more."""
    print("ready", flush=True)
    if not sys.stdin.readline():
        sys.exit()
