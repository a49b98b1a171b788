"""Session: a stub without an address, until the session is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raven_mcp.options import Options
from raven_mcp.wire.loop import Loop
from raven_mcp.wire.requests import Client

if TYPE_CHECKING:
    from raven.wake.listener import Listener


class Session:
    """The session of one agent, as the server calls it; each call may raise, and the server lives."""

    def __init__(self, options: Options, loop: Loop, notify: Callable[[str, dict[str, Any]], None]) -> None:
        self._options = options

    @property
    def listener(self) -> Listener | None:
        """The doorbell of the address; None before there is an address. The server watches its descriptor."""
        return None

    def greet(self, client: Client) -> None:
        """Learn which program the host is: before the first answer, and again if another one calls."""

    def on_ring(self) -> None:
        """Look for new mail, after the waiting calls did; the doorbell is drained."""

    def tick(self) -> None:
        """Do the work of each second."""

    def close(self) -> None:
        """End the session: the host is gone."""
