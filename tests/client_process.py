"""Clients of the bus in processes of their own, whose methods a test calls as if they were here."""

from __future__ import annotations

from typing import Any

from raven import Message
from tests.support import DEADLINE_S, Program, wait_until


class Actor:
    """A client at an address, in a process of its own; see `tests/programs/actor.py`."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def begin(self, method: str, *arguments: Any, **options: Any) -> None:
        """Call a method; `result` or `error` then reads its outcome."""
        self.program.tell([method, arguments, options])

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method and return its result in its JSON shape; fails if it raises."""
        self.begin(method, *arguments, **options)
        return self.result()

    def result(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return what the method that was begun has returned; fails where it raises."""
        line = self.program.read(timeout_s)
        assert "result" in line, line
        return line["result"]

    def error(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return the line of the error that the method that was begun has raised; fails where it returns."""
        line = self.program.read(timeout_s)
        assert "error" in line, line
        return line

    def claimed(self, **options: Any) -> Message:
        """Claim until there is one message, and return that."""
        return Message.from_dict(wait_until(lambda: self.call("claim", **options), "a message to claim")[0])

    def answer(self, type: str = "answer", body: Any = None) -> Message:
        """Claim the next request, answer it, ack it, and return it."""
        asked = self.claimed()
        self.call("reply", asked.id, type, body)
        self.call("ack", asked.id)
        return asked
