"""Sink: where messages for the subscriptions of one connection go, as notifications, each on a line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from raven.host.leases import Leases
from raven.model.message import Message
from raven_rpc.jsonrpc import errors as faults
from raven_rpc.jsonrpc import messages as protocol
from raven_rpc.jsonrpc import unix_socket as sockets


class LineSink:
    """The writing side of a connection; `on_idle` is called when no message is on its way any more for an ended one.

    Of what is pushed under a lease the connection's `leases` are told.
    """

    def __init__(self, leases: Leases, on_idle: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_full = False  # the client does not read as fast as it is written to, or has gone
        self.is_closed = False
        self.on_idle = on_idle
        self._leases = leases

    def unsent_bytes(self) -> int:
        """Return how much of what was written the client has not read, as far as the system tells."""
        return 0 if self.transport is None or self.is_closed else sockets.unsent_bytes(self.transport)

    def write(self, subscription: int, messages: Sequence[Message]) -> None:
        """Push messages, and remember under which lease."""
        lines = []
        for message in messages:
            told = {"subscription": subscription, "message": message.as_dict()}
            lines.append(protocol.encode({"jsonrpc": "2.0", "method": "message", "params": told}))
        if self.transport is not None and not self.is_closed:
            self.transport.write(b"".join(lines))
        if messages[0].lease is not None:
            self._leases.remember(messages[0].recipient, messages)

    def end(self, subscription: int, reason: str, error: Exception | None = None) -> None:
        """Tell the client that nothing more will come for a subscription."""
        told: dict[str, object] = {"subscription": subscription, "reason": reason}
        if error is not None:
            told["error"] = faults.to_wire(error)
        self.write_line(protocol.encode(protocol.notification("end", told)))

    def write_line(self, line: bytes) -> None:
        """Write what is whole lines already, unless the client has gone."""
        if self.transport is not None and not self.is_closed:
            self.transport.write(line)
