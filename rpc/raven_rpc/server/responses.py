"""Responses: the response to one line, collected until all its parts are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raven.errors import LimitError
from raven_rpc.jsonrpc import errors, messages
from raven_rpc.methods.method import Work
from raven_rpc.server.dispatch import Dispatched
from raven_rpc.server.memory import LONG_ANSWER
from raven_rpc.server.sink import LineSink

# The response to one line is at most so long: a write whose part would be beyond is not run, and a read is refused.
# Only the part of the last write goes beyond.
MAX_RESPONSE = 64 * 1024 * 1024


class LineResponse:
    """The response to one line: one response, the responses of a batch, or nothing; complete if no part is missing."""

    __slots__ = ("_parts", "_size", "after_reply", "ahead", "is_batch", "is_long", "long_bytes", "missing")

    def __init__(self, count: int, is_batch: bool, *, is_long: bool = False) -> None:
        self.is_batch = is_batch
        self.is_long = is_long  # the line was long: its requests are dispatched in a thread
        self._parts: list[bytes] = []
        self._size = self.long_bytes = 0  # of all parts, and of the long ones
        self.ahead = 0  # the bytes of the parts of writes in a batch, counted by the thread that encodes them
        self.missing = count
        # Callbacks for the time when the line is written, or can no longer be.
        self.after_reply: list[Callable[[], None]] = []

    def reserve(self) -> int:
        """Return the slot of the next request's response."""
        self._parts.append(b"")
        return len(self._parts) - 1

    def left(self) -> int:
        """Return how long the next part may be; any thread may ask."""
        return MAX_RESPONSE - self._size - self.ahead

    def put(self, slot: int, id: Any, text: bytes | None, *, is_done: bool = False, is_counted: bool = False) -> None:
        """Put the response to the request `id` into its slot, a line; None for a notification.

        An error takes the place of a response that is too long, unless it is that of a write that `is_done`.
        `is_counted`: its length is part of `ahead`.
        """
        self.missing -= 1
        if text is None:
            return
        if not is_done and len(text) > self.left():
            text = messages.encode(messages.failure(id, errors.to_wire(over_limit())))
        if not is_counted:
            self._size += len(text)
        if len(text) > LONG_ANSWER:
            self.long_bytes += len(text)
        self._parts[slot] = text

    def line(self) -> bytes:
        """Return the line to be written, empty if every request was a notification."""
        if not self.is_batch:
            return self._parts[0]
        parts = [part[:-1] for part in self._parts if part]
        return b"[%b]\n" % b",".join(parts) if parts else b""


class QueuedRequest:
    """A request whose work is not done yet."""

    __slots__ = ("_held", "dispatched", "is_counted", "is_write", "response", "size", "slot", "text", "work")

    def __init__(self, response: LineResponse, slot: int, dispatched: Dispatched, work: Work, size: int) -> None:
        self.response = response
        self.slot = slot
        self.dispatched = dispatched
        self.work = work
        self.is_write = work.executor == "write"
        self.is_counted = response.is_batch and self.is_write and work.deferred is None  # in `ahead` of the response
        self.size = size  # of its line, in bytes
        self.text: bytes | None = None  # the encoded response, once the work is done
        self._held = 0  # bytes of it that the sink has counted

    def encode(self, value: Any) -> None:
        """Encode the response of a request whose work returned a value; an internal error if the result is no JSON."""
        if not self.dispatched.wants_response:
            return
        self.text = self._encoded(self.work.to_result(value))
        self.cut(value)
        if self.is_counted:
            self.response.ahead += len(self.text)

    def cut(self, value: Any) -> None:
        """Leave out the body if the response of a write is too long, as when others of its batch came first."""
        if self.is_write and self.text is not None and len(self.text) > self.response.left():
            result = self.work.to_result(value)
            if "body" in result:
                self.text = self._encoded({**result, "body": None, "truncated": True})

    def hold(self, sink: LineSink) -> None:
        """Count the response among the long answers that the client has not read, if it is one."""
        if not self._held and self.text is not None and len(self.text) > LONG_ANSWER:
            self._held = len(self.text)
            sink.count_encoded(self._held)

    def drop_text(self, sink: LineSink) -> None:
        """Drop the response, which is not valid any more."""
        if self._held:
            sink.count_encoded(-self._held)
            self._held = 0
        if self.text is not None and self.is_counted:
            self.response.ahead -= len(self.text)
        self.text = None

    def _encoded(self, result: Any) -> bytes:
        try:
            return messages.encode_success(self.dispatched.id, result)
        except (RecursionError, TypeError, ValueError) as unforeseen:
            return messages.encode(messages.failure(self.dispatched.id, errors.to_wire(unforeseen)))


def over_limit() -> LimitError:
    """Return the error for a request whose response would be too long."""
    return LimitError(f"the answer is over the limit of {MAX_RESPONSE:,} bytes; nothing was done: ask for less at once")


def encode(id: Any, response: dict[str, Any]) -> bytes:
    """Return a response as a line; an internal error for a result that is no JSON."""
    try:
        return messages.encode(response)
    except (RecursionError, TypeError, ValueError) as unforeseen:
        return messages.encode(messages.failure(id, errors.to_wire(unforeseen)))


def immediate(response: dict[str, Any]) -> LineResponse:
    """Return the response to a line that holds no valid request."""
    line = LineResponse(1, is_batch=False)
    line.put(line.reserve(), response["id"], messages.encode(response))
    return line
