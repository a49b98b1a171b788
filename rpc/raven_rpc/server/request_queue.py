"""Lanes: in which order the work of one connection's requests is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from raven.host.host import Host
from raven.host.worker import Outcome, capture
from raven_rpc.server.responses import Pending
from raven_rpc.server.sink import LineSink

# So many requests of one connection may be under way, or fewer heavy ones; then it is read no further.
MAX_PENDING = 1000


class Lanes:
    """Does the work of one connection, and has what each came to settled: `settle`, then `answer_soon`.

    Writes run in their order, and so do reads; a read waits for the writes before it, and a write for the reads.
    """

    def __init__(
        self,
        host: Host,
        sink: LineSink,
        settle: Callable[[Pending, Outcome], None],
        answer_soon: Callable[[], None],
    ) -> None:
        self._host = host
        self._sink = sink
        self._settle = settle
        self._answer_soon = answer_soon
        self._waiting: deque[Pending] = deque()
        self._running = self._weight = 0
        self._executor = ""
        self.count = 0  # of the requests that wait or run

    def run(self, pending: Pending, is_last: bool) -> None:
        """Do the work of a request when its turn comes; `is_last` where no other request is there to go with it."""
        work = pending.work
        if is_last and not self.count and work.executor == "write":
            outcome = self._host.writer.try_inline(work.run, work.weight, self)
            if outcome is not None:
                return self._settle(pending, outcome)
        self.count += 1
        self._waiting.append(pending)
        return self.start()

    def start(self) -> None:
        """Start the work that may run now: what shares the lane of what runs, and anything where nothing does."""
        while self._waiting and not self._sink.is_full:
            work = self._waiting[0].work
            if self._running and (
                work.executor == "loop" or work.executor != self._executor or self._weight + work.weight > MAX_PENDING
            ):
                return
            pending = self._waiting.popleft()
            self._running += 1
            self._weight += work.weight
            self._executor = work.executor
            if work.executor == "loop":
                self._leave(pending, capture(work.run))
            else:
                self._host.executors[work.executor].submit(work.run, partial(self._finish, pending), work.weight, self)

    def clear(self) -> None:
        """Forget what has not begun."""
        self.count -= len(self._waiting)
        self._waiting.clear()

    def _finish(self, pending: Pending, outcome: Outcome) -> None:
        self._leave(pending, outcome)
        if not self._sink.is_closed:
            self.start()
            # Not at once: what was committed together is answered in one piece.
            self._answer_soon()

    def _leave(self, pending: Pending, outcome: Outcome) -> None:
        self.count -= 1
        self._running -= 1
        self._weight -= pending.work.weight
        self._settle(pending, outcome)
