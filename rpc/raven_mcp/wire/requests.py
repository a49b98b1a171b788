"""Requests: a call of a tool, its result, and the calls that wait for theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

# A host that lets more calls wait at once has lost count of them.
_MOST_WAITING = 100


class Client(NamedTuple):
    """The program at the other end, as it calls itself, and the protocol version that it speaks."""

    name: str
    version: str
    protocol: str


class Call(NamedTuple):
    """One `tools/call`; `is_modern` if it came without a handshake."""

    id: Any
    name: str
    arguments: dict[str, Any]
    meta: dict[str, Any]
    progress_token: Any | None
    is_modern: bool


class Result(dict[str, Any]):
    """The result of a tool; `on_written` is called when its line has been handed to the host."""

    on_written: Callable[[], object] | None = None

    @classmethod
    def of(cls, text: str, *, is_error: bool = False, on_written: Callable[[], object] | None = None) -> Result:
        """Return a result of one text."""
        result = cls(content=[{"type": "text", "text": text}])
        if is_error:
            result["isError"] = True
        result.on_written = on_written
        return result


class Pending(Protocol):
    """A call of a tool that waits: polled after each ring of the doorbell, at each tick, and at its deadline.

    At its deadline, a time of the monotonic clock, it has a result.
    """

    deadline: float

    def poll(self) -> dict[str, Any] | None:
        """Return the result, or None to wait on."""

    def cancel(self) -> None:
        """Give up: there will be no result."""


class _Waiting(NamedTuple):
    call: Call
    pending: Pending
    since: float


class WaitingCalls:
    """The calls that wait, each with the time of its next note of progress."""

    def __init__(self, progress_s: float) -> None:
        self._progress_s = progress_s
        self._calls: dict[Any, _Waiting] = {}
        self._progress_at: dict[Any, float] = {}

    @property
    def is_full(self) -> bool:
        """Whether so many calls wait that no other may."""
        return len(self._calls) >= _MOST_WAITING

    def __contains__(self, id: Any) -> bool:
        return id in self._calls

    def add(self, call: Call, pending: Pending) -> None:
        """Let a call wait."""
        now = time.monotonic()
        self._calls[call.id] = _Waiting(call, pending, now)
        if call.progress_token is not None:
            self._progress_at[call.id] = now + self._progress_s

    def cancel(self, id: Any) -> None:
        """Give up a call; an id of no waiting call is ignored, of any type."""
        # Python takes 1.0 and True for 1.
        waiting = self._calls.get(id) if type(id) in (int, str) else None
        if waiting is not None:
            self.remove(id)
            waiting.pending.cancel()

    def ids(self) -> list[Any]:
        """Return the ids of all calls."""
        return list(self._calls)

    def next_at(self) -> float:
        """Return when the first deadline or note of progress is due; infinity without a waiting call."""
        deadlines = (waiting.pending.deadline for waiting in self._calls.values())
        return min((*deadlines, *self._progress_at.values()), default=float("inf"))

    def remove(self, id: Any) -> None:
        """Forget a call that has its result."""
        self._calls.pop(id, None)
        self._progress_at.pop(id, None)

    def due(self, *, is_all: bool) -> Iterator[tuple[Call, Pending]]:
        """Yield the calls whose deadline has passed, or all."""
        for id, waiting in list(self._calls.items()):
            if id in self._calls and (is_all or waiting.pending.deadline <= time.monotonic()):
                yield waiting.call, waiting.pending

    def progress(self) -> Iterator[dict[str, Any]]:
        """Yield the params of each `notifications/progress` that is due."""
        now = time.monotonic()
        for id, at in list(self._progress_at.items()):
            if at <= now:
                waiting = self._calls[id]
                self._progress_at[id] = now + self._progress_s
                yield {
                    "progressToken": waiting.call.progress_token,
                    "progress": round(now - waiting.since, 3),
                    "total": round(waiting.pending.deadline - waiting.since, 3),
                }
