"""Answers: what is still owed for a line, until all parts of it are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raven.errors import LimitError
from raven_rpc.jsonrpc import errors as faults
from raven_rpc.jsonrpc import messages as protocol
from raven_rpc.methods.method import Work
from raven_rpc.server.dispatch import Reply

# So much is kept for one line until it can be written; what goes beyond is answered with an error instead.
MAX_ANSWER = 64 * 1024 * 1024


class Answer:
    """The answer to one line: one response, those of a batch, or nothing; ready when no part is missing."""

    __slots__ = ("_is_batch", "_parts", "_size", "after", "missing")

    def __init__(self, count: int, is_batch: bool) -> None:
        self._is_batch = is_batch
        self._parts: list[bytes] = []
        self._size = 0
        self.missing = count
        # What is to be done once the line is written, or can no longer be.
        self.after: list[Callable[[], None]] = []

    def take_place(self) -> int:
        """Return the place of the next request's response."""
        self._parts.append(b"")
        return len(self._parts) - 1

    def put(self, place: int, response: dict[str, Any] | None) -> None:
        """Put the response to one request in its place; None for a notification."""
        self.missing -= 1
        if response is None:
            return
        try:
            text = protocol.encode(response)
        except (RecursionError, TypeError, ValueError) as unforeseen:
            text = protocol.encode(protocol.failure(response["id"], faults.to_wire(unforeseen)))
        if self._size + len(text) > MAX_ANSWER:
            error = LimitError(f"the answer is over the limit of {MAX_ANSWER:,} bytes: ask for less at once")
            text = protocol.encode(protocol.failure(response["id"], faults.to_wire(error)))
        self._size += len(text)
        self._parts[place] = text

    def line(self) -> bytes:
        """Return the line to be written, empty where there is nothing to say."""
        if not self._is_batch:
            return self._parts[0]
        parts = [part[:-1] for part in self._parts if part]
        return b"[%b]\n" % b",".join(parts) if parts else b""


class Pending:
    """A request that waits for its work to be done."""

    __slots__ = ("answer", "place", "reply", "work")

    def __init__(self, answer: Answer, place: int, reply: Reply, work: Work) -> None:
        self.answer = answer
        self.place = place
        self.reply = reply
        self.work = work


def ready(response: dict[str, Any]) -> Answer:
    """Return the answer to a line that no request could be made of."""
    answer = Answer(1, is_batch=False)
    answer.put(answer.take_place(), response)
    return answer
