"""Sink: writes the messages of one connection's subscriptions as notifications, one per line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from raven.host.leases import Leases
from raven.host.limits import PATIENCE_S, Answers
from raven.model.clock import from_micros, isoformat
from raven.model.message import Message
from raven_rpc.jsonrpc import errors, unix_socket
from raven_rpc.jsonrpc.messages import encode, notification
from raven_rpc.server.memory import LONG_ANSWER, MAX_UNREAD


class LineSink:
    """The writing side of a connection.

    It calls `on_idle` when no message is on its way any more for a paused or ended subscription. It adds the leases of
    pushed messages to the connection's `leases`.
    """

    def __init__(self, leases: Leases, on_idle: Callable[[], None], answers: Answers) -> None:
        self._answers = answers
        # Bytes of long answers: encoded in any thread, and of these written to the transport, and read by the client.
        self.encoded = self._written = self.read = 0
        self._unsent = 0  # at the last look
        self._progress_at = 0.0
        self.transport: asyncio.Transport | None = None
        self.is_full = False  # the client reads more slowly than the server writes, or has gone
        self.is_closed = False
        self.on_idle = on_idle
        self._leases = leases

    def unsent_bytes(self) -> int:
        """Return how many written bytes the client has not read, as far as the system tells."""
        return 0 if self.transport is None or self.is_closed else unix_socket.unsent_bytes(self.transport)

    def count_encoded(self, count: int) -> None:
        """Count a long answer that was encoded, or uncount one. Any thread may call it, but one at a time."""
        self.encoded += count
        self._answers.add(count)

    def count_read(self) -> None:
        """Note that the client has read all that was written."""
        if self._written != self.read:
            self._answers.add(self.read - self._written)
            self.read = self._written

    def is_stalled(self) -> bool:
        """Whether the client has read nothing for long, with long answers before it. Call it once a second."""
        if self._written == self.read:
            self._unsent = 0
            return False
        now, before, self._unsent = time.monotonic(), self._unsent, self.unsent_bytes()
        if not before or self._unsent < before:
            self._progress_at = now
        return now - self._progress_at > PATIENCE_S

    def count_dropped(self) -> None:
        """Note that the client has gone, and reads nothing more."""
        self._written = self.encoded
        self.count_read()

    def has_room(self) -> bool:
        """Whether the client reads its long answers and pushes, and all clients together do."""
        unread = self.encoded - self.read
        return unread <= MAX_UNREAD and self._answers.held <= self._answers.limit and not self.is_full

    def encode(self, subscription: int, messages: Sequence[Message], leased_until: int | None = None) -> bytes:
        """Encode messages as notifications."""
        lines = []
        rest = {} if leased_until is None else {"leased_until": isoformat(from_micros(leased_until))}
        for message in messages:
            params = {"subscription": subscription, "message": message.as_dict(), **rest}
            lines.append(encode({"jsonrpc": "2.0", "method": "message", "params": params}))
        return b"".join(lines)

    def write(self, text: bytes, messages: Sequence[Message]) -> None:
        """Push encoded messages, and remember their lease."""
        long = len(text) if len(text) > LONG_ANSWER and not self.is_closed else 0
        if long:
            self.count_encoded(long)
        self.write_line(text, long)
        if messages[0].lease is not None:
            self._leases.remember(messages[0].recipient, messages)

    def end(self, subscription: int, reason: str, error: Exception | None = None) -> None:
        """Tell the client that a subscription has ended."""
        params: dict[str, object] = {"subscription": subscription, "reason": reason}
        if error is not None:
            params["error"] = errors.to_wire(error)
        self.write_line(encode(notification("end", params)))

    def write_line(self, line: bytes, long: int = 0) -> None:
        """Write whole lines, of which so many bytes are long answers, unless the client has gone."""
        self._written += long
        if self.transport is not None and not self.is_closed:
            self.transport.write(line)
            # If the rest is short, the transport reports no end of it.
            if long and not self.is_full:
                self.count_read()
