"""Sessions of coding agents for the tests: each is a process of its own."""

from __future__ import annotations

from typing import Any

from tests.support import Program

HOST = "claude-code"


class Session(Program):
    """One session of a coding agent; `bind` and the other methods are those of Agents, in its process."""

    def __init__(self, db: str, native_id: str, host: str = HOST) -> None:
        super().__init__("agent_session", db, host, native_id)
        self.native_id = native_id
        assert self.read() == self.pid

    def bind(self, wanted: str, **options: Any) -> dict[str, Any]:
        return self.ask(["bind", {"wanted": wanted, **options}])

    def rebind(self, native_id: str) -> dict[str, Any]:
        return self.ask(["rebind", native_id])

    def note(self, **presence: Any) -> None:
        self.ask(["note", presence])

    def finish(self) -> None:
        """End the session, and its process."""
        self.ask(["end", None])
        self.end()

    def inbox(self) -> list[Any]:
        return self.ask(["inbox", {}])

    def claim(self, **options: Any) -> list[Any]:
        return self.ask(["claim", options])


def bound(
    address: str, *, taken_by: str | None = None, taken_over: str | None = None, resumed: bool = False
) -> dict[str, Any]:
    """Return the answer to a `bind` or `rebind`."""
    return {"address": address, "resumed": resumed, "taken_by": taken_by, "taken_over": taken_over}
