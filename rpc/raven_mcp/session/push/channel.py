"""Channel: a way to wake a session, which each program has or has not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from raven_mcp.session.identity import CLAUDE, CODEX
from raven_mcp.wire.loop import Loop

Notify = Callable[[str, dict[str, Any]], object]


class Channel(Protocol):
    """A way to wake one session. A push that has arrived in the program is no sign that its model has read the mail."""

    def post(self, text: str, done: Callable[[bool], None]) -> None:
        """Hand a text to the program, without blocking; `done` is called, now or later, with whether it took it."""

    def close(self) -> None:
        """Give up a push that is on its way."""


class Notified:
    """A channel of Claude Code: a notification of the server itself. The program drops it unless it was told not to."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify

    def post(self, text: str, done: Callable[[bool], None]) -> None:
        """Notify the program."""
        self._notify("notifications/claude/channel", {"content": text})
        done(True)

    def close(self) -> None:
        """Do nothing."""


def channel_for(host: str, native_id: str | None, environ: Mapping[str, str], loop: Loop) -> Channel | None:
    """Return the way to wake a session of a program; None if it has none, or needs a name of the session."""
    if host == CLAUDE and environ.get("CLAUDE_CODE_MESSAGING_SOCKET"):
        from raven_mcp.session.push.claude_socket import ClaudeSocket

        return ClaudeSocket(environ, loop)
    if host == CODEX and native_id is not None:
        from raven_mcp.session.push.codex_queue import CodexQueue

        return CodexQueue(native_id, environ, loop)
    return None
