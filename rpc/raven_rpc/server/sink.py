"""Sink: writes the messages of one connection's subscriptions as notifications, one per line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from raven.host.leases import Leases
from raven.model.clock import from_micros, isoformat
from raven.model.message import Message
from raven_rpc.jsonrpc import errors, unix_socket
from raven_rpc.jsonrpc.messages import encode, notification


class LineSink:
    """The writing side of a connection.

    It calls `on_idle` when no message is on its way any more for a paused or ended subscription. It adds the leases of
    pushed messages to the connection's `leases`.
    """

    def __init__(self, leases: Leases, on_idle: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_full = False  # the client reads more slowly than the server writes, or has gone
        self.is_closed = False
        self.on_idle = on_idle
        self._leases = leases

    def unsent_bytes(self) -> int:
        """Return how many written bytes the client has not read, as far as the system tells."""
        return 0 if self.transport is None or self.is_closed else unix_socket.unsent_bytes(self.transport)

    def write(self, subscription: int, messages: Sequence[Message], leased_until: int | None = None) -> None:
        """Push messages, and remember their lease."""
        lines = []
        rest = {} if leased_until is None else {"leased_until": isoformat(from_micros(leased_until))}
        for message in messages:
            params = {"subscription": subscription, "message": message.as_dict(), **rest}
            lines.append(encode({"jsonrpc": "2.0", "method": "message", "params": params}))
        if self.transport is not None and not self.is_closed:
            self.transport.write(b"".join(lines))
        if messages[0].lease is not None:
            self._leases.remember(messages[0].recipient, messages)

    def end(self, subscription: int, reason: str, error: Exception | None = None) -> None:
        """Tell the client that a subscription has ended."""
        params: dict[str, object] = {"subscription": subscription, "reason": reason}
        if error is not None:
            params["error"] = errors.to_wire(error)
        self.write_line(encode(notification("end", params)))

    def write_line(self, line: bytes) -> None:
        """Write whole lines, unless the client has gone."""
        if self.transport is not None and not self.is_closed:
            self.transport.write(line)
