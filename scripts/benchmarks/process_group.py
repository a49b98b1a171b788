"""Process group: programs that prepare, start at one signal, and report at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from scripts.harness.program import Program

_WORK_S = 300


class ProcessGroup:
    """A program for each module and its arguments; inside the `with` block all of them are ready."""

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

    def start(self) -> None:
        """Start the work of all programs."""
        for program in self._programs:
            program.tell("go")

    def check(self) -> None:
        """Raise RuntimeError if a program has ended."""
        if any(program.has_ended for program in self._programs):
            raise RuntimeError(f"one of {self._members} has ended")

    def reports(self) -> list[Any]:
        """Wait for the JSON line of each program, and return the values."""
        return [json.loads(program.line(_WORK_S)) for program in self._programs]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.close()


def wait_for_start() -> None:
    """Report that this program is ready, and wait for the start signal; exits at the end of its input."""
    print("ready", flush=True)
    if not sys.stdin.readline():
        sys.exit()
