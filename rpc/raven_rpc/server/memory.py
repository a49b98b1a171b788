"""Memory: the long lines that a server holds for its clients, over all connections."""

from __future__ import annotations

import time
from collections import deque
from typing import Protocol

from raven.host.limits import ServerLimits

# A longer line is parsed in a thread, and only after it has a place in LongLines.
LONG_LINE = 64 * 1024
# A longer answer is counted.
LONG_ANSWER = 64 * 1024
# Requests of one connection that wait hold at most this many bytes, or are one request.
MAX_WAITING = 256 * 1024
# A connection is not begun another request while it has not read this many bytes of answers.
MAX_UNREAD = 1024 * 1024
# A line of so many bytes may take this many times as many while it is parsed and written.
_BYTES_PER_BYTE = 8
# A client that keeps others waiting must finish its line, or read an answer, within this time.
PATIENCE_S = 5.0


class Holder(Protocol):
    """A connection."""

    def process_input(self) -> None:
        """Go on, since there is room."""

    def end_unfinished(self) -> None:
        """End the connection if it has not finished its line: others have waited for long enough."""


class LongLines:
    """The places for long lines: a connection takes one before it reads on, and keeps it until its line is answered.

    There are as many places as lines of the largest size fit into the limit `memory`, but one at least. The others wait
    in their order.
    """

    def __init__(self, limits: ServerLimits, max_request: int) -> None:
        self._places = max(1, limits.memory // (_BYTES_PER_BYTE * max_request)) if limits.memory else 1000
        self._holders: dict[Holder, float] = {}
        self._waiting: deque[Holder] = deque()

    def acquire(self, holder: Holder) -> bool:
        """Take a place, and return whether there is one; otherwise the connection goes on when its turn comes."""
        if holder in self._holders:
            return True
        if holder not in self._waiting:
            self._waiting.append(holder)
        self._hand_on()
        return holder in self._holders

    def release(self, holder: Holder) -> None:
        """Give a place back, or stop waiting for one."""
        if holder in self._waiting:
            self._waiting.remove(holder)
        if self._holders.pop(holder, None) is not None:
            for waiting in self._hand_on():
                waiting.process_input()

    def tick(self) -> None:
        """Once a second: end the connections that have kept others waiting for too long."""
        if self._waiting:
            since = time.monotonic() - PATIENCE_S
            for holder in [holder for holder, begun_at in self._holders.items() if begun_at < since]:
                holder.end_unfinished()

    def _hand_on(self) -> list[Holder]:
        handed = []
        while self._waiting and len(self._holders) < self._places:
            holder = self._waiting.popleft()
            self._holders[holder] = time.monotonic()
            handed.append(holder)
        return handed
