"""Tools: a stub with a single tool, until the tools are there."""

from __future__ import annotations

import time
from typing import Any

from raven_mcp.session.session import Session
from raven_mcp.wire.requests import Call, Pending, Result


class _Wait:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def poll(self) -> dict[str, Any] | None:
        return Result.of('{"messages":[],"more":0}') if time.monotonic() >= self.deadline else None

    def cancel(self) -> None:
        pass


class Tools:
    """The tools of one session, as the server calls them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def instructions(self) -> str:
        """Return the text that tells a model about raven."""
        return "raven carries messages between agent sessions on this machine."

    def listed(self) -> list[dict[str, Any]]:
        """Return the tools, as `tools/list` shows them."""
        return [{"name": "inbox", "description": "Read your mail.", "inputSchema": {"type": "object"}}]

    def knows(self, name: str) -> bool:
        """Whether there is a tool of this name, listed or not."""
        return name == "inbox"

    def call(self, call: Call) -> dict[str, Any] | Pending:
        """Call a tool; return its result, or a Pending if it waits."""
        wait_s = call.arguments.get("wait_s", 0)
        if not isinstance(wait_s, int | float):
            return Result.of("wait_s is no number of seconds", is_error=True)
        return _Wait(time.monotonic() + wait_s) if wait_s else Result.of('{"messages":[],"more":0}')
