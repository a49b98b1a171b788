"""Tools: the calls of one session's tools, and the errors of those calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raven.errors import RavenError
from raven_mcp.tools import finish, identity, inbox, look, send, table
from raven_mcp.tools.context import Context, failure
from raven_mcp.tools.instructions import instructions

if TYPE_CHECKING:
    from raven_mcp.session.session import Session
    from raven_mcp.wire.requests import Call, Pending, Result

_FUNCTIONS: dict[str, Callable[[Context, dict[str, Any]], Result | Pending]] = {
    "send": send.send,
    "inbox": inbox.inbox,
    "reply": finish.reply,
    "done": finish.done,
    "peers": look.peers,
    "thread": look.thread,
    "join": identity.join,
}


class Tools:
    """The tools of one session, as the server calls them; `tick` once a second, and `close` before the session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._context = Context(session)

    def instructions(self) -> str:
        """Return the text that tells a model about raven."""
        return instructions(self._session.address)

    def listed(self) -> list[dict[str, Any]]:
        """Return the tools, as `tools/list` shows them."""
        return table.listed()

    def knows(self, name: str) -> bool:
        """Whether there is a tool of this name, listed or not."""
        return name in table.TOOLS

    def call(self, call: Call) -> Result | Pending:
        """Call a tool; return its result, which may be an error in one line, or a Pending if it waits."""
        try:
            if call.name == "hook":
                return identity.hook(self._context, call)
            arguments = table.check(call.name, call.arguments)
            self._session.bind(call)
            return _FUNCTIONS[call.name](self._context, arguments)
        except (RavenError, OSError) as error:
            return failure(error)

    def tick(self) -> None:
        """Renew the leases of messages in hand."""
        self._context.claims.tick()

    def close(self) -> None:
        """Give the messages in hand to the other sessions of a shared address."""
        self._context.claims.release()
