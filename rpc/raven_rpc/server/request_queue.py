"""Request queue: the order in which the work of one connection's requests runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from raven.errors import ClosedError
from raven.host.host import Host
from raven.host.worker import Outcome, capture
from raven_rpc.methods.method import Work
from raven_rpc.server.responses import QueuedRequest
from raven_rpc.server.sink import LineSink

# At most this many requests of one connection run or wait, fewer if they are heavy; then the server stops reading it.
MAX_PENDING = 1000


class RequestQueue:
    """Runs the work of one connection's requests; calls `complete` with each outcome, then `respond_soon`.

    Writes run in their order, and so do reads; a read waits for earlier writes, and a write for earlier reads.
    """

    def __init__(
        self,
        host: Host,
        sink: LineSink,
        complete: Callable[[QueuedRequest, Outcome], None],
        respond_soon: Callable[[], None],
    ) -> None:
        self._host = host
        self._sink = sink
        self._complete = complete
        self._respond_soon = respond_soon
        self._waiting: deque[QueuedRequest] = deque()
        self._running = self._weight = 0
        self._executor = ""
        self.count = 0  # of the requests that wait or run

    def run(self, request: QueuedRequest, is_last: bool) -> None:
        """Run the work of a request in its turn; `is_last` if no further request of this connection has come."""
        work = request.work
        if is_last and not self.count and work.executor == "write":
            outcome = self._host.writer.try_inline(partial(self._run, work), work.weight, self)
            if outcome is not None:
                return self._complete(request, outcome)
        self.count += 1
        self._waiting.append(request)
        return self.start()

    def start(self) -> None:
        """Start queued requests of the running executor, or of any executor if none runs."""
        while self._waiting and not self._sink.is_full:
            work = self._waiting[0].work
            if self._running and (
                work.executor == "loop" or work.executor != self._executor or self._weight + work.weight > MAX_PENDING
            ):
                return
            request = self._waiting.popleft()
            self._running += 1
            self._weight += work.weight
            self._executor = work.executor
            if work.executor == "loop":
                self._leave(request, capture(work.run))
            else:
                self._host.executors[work.executor].submit(
                    partial(self._run, work), partial(self._on_done, request), work.weight, self
                )

    def clear(self) -> None:
        """Drop the requests that have not started."""
        self.count -= len(self._waiting)
        self._waiting.clear()

    def _run(self, work: Work) -> Any:
        """Do the work of a request, unless its client has gone. Runs in the thread of an executor."""
        if self._sink.is_closed:
            raise ClosedError("the client has gone: its request was not begun")
        if work.executor == "write":
            self._host.admission.begin()
        return work.run()

    def _on_done(self, request: QueuedRequest, outcome: Outcome) -> None:
        self._leave(request, outcome)
        if not self._sink.is_closed:
            self.start()
            # Not at once: responses to requests of one commit are written in one piece.
            self._respond_soon()

    def _leave(self, request: QueuedRequest, outcome: Outcome) -> None:
        self.count -= 1
        self._running -= 1
        self._weight -= request.work.weight
        self._complete(request, outcome)
