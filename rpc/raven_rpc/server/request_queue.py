"""Request queue: the order in which the work of one connection's requests runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from raven.errors import ClosedError
from raven.host.host import Host
from raven.host.limits import Answers
from raven.host.worker import Outcome, capture
from raven_rpc.server.memory import MAX_UNREAD
from raven_rpc.server.responses import QueuedRequest, over_limit
from raven_rpc.server.sink import LineSink

# At most this many requests of one connection run or wait, fewer if they are heavy; then the server stops reading it.
MAX_PENDING = 1000
_POSTPONED = object()


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
        answers: Answers,
    ) -> None:
        self._answers = answers
        self._admission = host.admission
        self._host = host
        self._sink = sink
        self._complete = complete
        self._respond_soon = respond_soon
        self._waiting: deque[QueuedRequest] = deque()
        self._running = self._weight = 0
        self._executor = ""
        self._postponed: list[QueuedRequest] = []
        self._is_postponing = False
        self.count = self.size = 0  # of the requests that wait or run, and of their lines in bytes

    def run(self, request: QueuedRequest, is_last: bool) -> None:
        """Run the work of a request in its turn; `is_last` if no further request of this connection has come."""
        work = request.work
        if is_last and not self.count and work.executor == "write":
            outcome = self._host.writer.try_inline(partial(self._run, request), work.weight, self)
            if outcome is not None and outcome.value is not _POSTPONED:
                return self._complete(request, outcome)
        self.count += 1
        self.size += request.size
        self._waiting.append(request)
        return self.start()

    def start(self) -> None:
        """Start queued requests of the running executor, or of any executor if none runs."""
        while self._waiting and not self._sink.is_full and not self._is_postponing:
            work = self._waiting[0].work
            if self._must_wait(self._waiting[0]):
                return
            if self._running and (
                work.executor == "loop" or work.executor != self._executor or self._weight + work.weight > MAX_PENDING
            ):
                return
            request = self._waiting.popleft()
            self._running += 1
            self._weight += work.weight
            self._executor = work.executor
            if work.executor == "loop":
                self._leave(request, capture(partial(self._run, request)))
            else:
                self._host.executors[work.executor].submit(
                    partial(self._run, request), partial(self._on_done, request), work.weight, self
                )

    def clear(self) -> None:
        """Drop the requests that have not started."""
        self.count -= len(self._waiting)
        self.size -= sum(request.size for request in self._waiting)
        self._waiting.clear()

    def _run(self, request: QueuedRequest) -> Any:
        """Do the work of a request and encode its response, unless its client has gone. Any thread may run it.

        The request is postponed if the client has not read enough of the last answers, and so are all that follow it.
        """
        work, sink, dispatched = request.work, self._sink, request.dispatched
        if sink.is_closed:
            raise ClosedError("the client has gone: its request was not begun")
        if self._is_postponing or self._must_wait(request):
            self._is_postponing = True
            return _POSTPONED
        left = request.response.left()
        if left <= 0:
            raise over_limit()
        if request.is_write:
            self._admission.deliveries = 0
            self._admission.answer_bytes = left
        if work.is_page and self._answers.held > self._answers.limit:
            raise self._answers.error()
        if request.text is not None:  # of an earlier run, which was rolled back
            request.drop_text(sink)
        value = work.run()
        is_result = work.deferred is None or (work.is_page and value is not None)
        if dispatched.wants_response and is_result and not work.on_loop:
            request.encode(value)
            request.hold(sink)
        return value

    def _must_wait(self, request: QueuedRequest) -> bool:
        """Whether the client has first to read. The parts of a batch do not wait: it is written as a whole."""
        sink = self._sink
        return sink.encoded != sink.read and sink.encoded - sink.read > MAX_UNREAD and not request.response.is_batch

    def _on_done(self, request: QueuedRequest, outcome: Outcome) -> None:
        if outcome.value is _POSTPONED:
            self._running -= 1
            self._weight -= request.work.weight
            self._postponed.append(request)
        else:
            self._leave(request, outcome)
        if self._is_postponing and not self._running:
            self._waiting.extendleft(reversed(self._postponed))
            self._postponed.clear()
            self._is_postponing = False
        if self._sink.is_closed:
            self._sink.count_dropped()
        else:
            self.start()
            # Not at once: responses to requests of one commit are written in one piece.
            self._respond_soon()

    def _leave(self, request: QueuedRequest, outcome: Outcome) -> None:
        self.count -= 1
        self.size -= request.size
        self._running -= 1
        self._weight -= request.work.weight
        self._complete(request, outcome)
