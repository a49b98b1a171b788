"""Responses: the response to one line, collected until all its parts are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raven.errors import LimitError
from raven_rpc.jsonrpc import errors, messages
from raven_rpc.methods.method import Work
from raven_rpc.server.dispatch import Dispatched

# The largest response to one line that the server keeps until it is written; parts beyond become errors.
MAX_RESPONSE = 64 * 1024 * 1024


class LineResponse:
    """The response to one line: one response, the responses of a batch, or nothing; complete if no part is missing."""

    __slots__ = ("_is_batch", "_parts", "_size", "after_reply", "missing")

    def __init__(self, count: int, is_batch: bool) -> None:
        self._is_batch = is_batch
        self._parts: list[bytes] = []
        self._size = 0
        self.missing = count
        # Callbacks for the time when the line is written, or can no longer be.
        self.after_reply: list[Callable[[], None]] = []

    def reserve(self) -> int:
        """Return the slot of the next request's response."""
        self._parts.append(b"")
        return len(self._parts) - 1

    def put(self, slot: int, response: dict[str, Any] | None) -> None:
        """Put the response to one request into its slot; None for a notification."""
        self.missing -= 1
        if response is None:
            return
        try:
            text = messages.encode(response)
        except (RecursionError, TypeError, ValueError) as unforeseen:
            text = messages.encode(messages.failure(response["id"], errors.to_wire(unforeseen)))
        if self._size + len(text) > MAX_RESPONSE:
            error = LimitError(f"the answer is over the limit of {MAX_RESPONSE:,} bytes: ask for less at once")
            text = messages.encode(messages.failure(response["id"], errors.to_wire(error)))
        self._size += len(text)
        self._parts[slot] = text

    def line(self) -> bytes:
        """Return the line to be written, empty if every request was a notification."""
        if not self._is_batch:
            return self._parts[0]
        parts = [part[:-1] for part in self._parts if part]
        return b"[%b]\n" % b",".join(parts) if parts else b""


class QueuedRequest:
    """A request whose work is not done yet."""

    __slots__ = ("dispatched", "response", "slot", "work")

    def __init__(self, response: LineResponse, slot: int, dispatched: Dispatched, work: Work) -> None:
        self.response = response
        self.slot = slot
        self.dispatched = dispatched
        self.work = work


def immediate(response: dict[str, Any]) -> LineResponse:
    """Return the response to a line that holds no valid request."""
    line = LineResponse(1, is_batch=False)
    line.put(line.reserve(), response)
    return line
