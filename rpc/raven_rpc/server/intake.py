"""Intake: from the lines of one connection to its requests, one at a time and in order."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from raven.errors import LimitError, RavenError
from raven.host.admission import Share
from raven.host.deferred import DeferredSet
from raven_rpc.jsonrpc import batch, errors, messages
from raven_rpc.methods.context import Context
from raven_rpc.server.dispatch import Dispatched, Dispatcher
from raven_rpc.server.long_input import LongInput
from raven_rpc.server.memory import LONG_LINE
from raven_rpc.server.request_queue import RequestQueue
from raven_rpc.server.responses import LineResponse, QueuedRequest, encode, immediate

# At most so many elements of a long batch are dispatched at a time.
_MAX_ELEMENTS = 50
# An element of a batch counts as so many bytes among the requests that wait.
_ELEMENT_SIZE = 256
_HTTP = re.compile(rb"(GET|POST|PUT|HEAD|OPTIONS|DELETE|PATCH|CONNECT|TRACE|PRI) \S+ HTTP/\d")

Put = Callable[[LineResponse, int, Any, "bytes | None"], None]


class _Element(NamedTuple):
    """An element of an opened batch, and the response to that batch."""

    value: Any
    response: LineResponse


class Intake:
    """The lines that a connection has read and not started, the elements of opened batches, and immediate responses.

    Each line gets its place among the `responses` in its turn. `put` puts a response into its slot.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        context: Context,
        deferred: DeferredSet,
        queue: RequestQueue,
        long: LongInput,
        responses: deque[LineResponse],
        put: Put,
        max_request: int,
        share: Share | None,
    ) -> None:
        self._share = share
        self.items: deque[bytes | _Element | LineResponse] = deque()
        self.has_ended = False  # no further line is read
        self._dispatcher = dispatcher
        self._context = context
        self._deferred = deferred
        self._queue = queue
        self._long = long
        self._responses = responses
        self._put = put
        self._max_request = max_request

    def add_line(self, line: bytes | None) -> None:
        """Add a line; None stands for one that was over the limit."""
        if line is not None:
            self.items.append(line)
            return
        self._long.release()
        error = LimitError(f"a request is over the limit of {self._max_request:,} bytes: send less at once")
        self.items.append(immediate(messages.failure(None, errors.to_wire(error))))

    def process_next(self) -> None:
        """Start the next request, or open the next batch; long ones are worked on in a thread."""
        item = self.items.popleft()
        if isinstance(item, bytes):
            self._process_line(item)
        elif isinstance(item, LineResponse):
            self._responses.append(item)
        elif item.response.is_long:
            self._dispatch_long(item)
        else:
            self._start(self._dispatch(item.value), item.response, _ELEMENT_SIZE)

    def _process_line(self, line: bytes) -> None:
        if self._share is not None:
            self._share.spend_bytes(len(line))
        if len(line) > LONG_LINE:
            return self._long.parse(line, self._dispatch, lambda value: self._on_parsed(line, value))
        try:
            value = messages.parse(line)
        except messages.ParseError as error:
            return self._refuse_text(line, error)
        if isinstance(value, list):
            self._open_batch(value)
            return None
        response = LineResponse(1, is_batch=False)
        self._responses.append(response)
        return self._start(self._dispatcher.dispatch(value, self._context), response, len(line))

    def _refuse_text(self, line: bytes, error: messages.ParseError) -> None:
        reason = str(error)
        if _HTTP.match(line):
            reason = "this socket speaks JSON-RPC 2.0, one JSON text per line, and no HTTP"
            self.items.clear()
            self.has_ended = True
        self._respond(messages.failure(None, errors.standard(messages.PARSE_ERROR, reason)))

    def _open_batch(self, elements: list[Any], *, is_long: bool = False) -> bool:
        """Put the elements of a batch first; returns False, with an error as the response, if they cannot be run."""
        if not elements:
            reason = "a batch holds at least one request"
            self._respond(messages.failure(None, errors.standard(messages.INVALID_REQUEST, reason)))
            return False
        if len(elements) > messages.MAX_BATCH:
            limit = LimitError(f"a batch of {len(elements):,} requests is over the limit of {messages.MAX_BATCH:,}")
            self._respond(messages.failure(None, errors.to_wire(limit)))
            return False
        response = LineResponse(len(elements), is_batch=True, is_long=is_long)
        self._responses.append(response)
        self.items.extendleft(_Element(element, response) for element in reversed(elements))
        return True

    def _start(self, dispatched: Dispatched, response: LineResponse, size: int) -> None:
        slot, work = response.reserve(), dispatched.work
        self._dispatcher.requests += 1
        if self._share is not None:
            self._share.spend_request(1 if work is None else work.weight)
        if work is not None and work.deferred is not None:
            dispatched = self._reserve_wait(dispatched)
            work = dispatched.work
        if work is not None:
            self._queue.run(QueuedRequest(response, slot, dispatched, work, size), is_last=not self.items)
            return
        answer = dispatched.response
        if answer is not None and "error" in answer:
            self._dispatcher.errors += 1
        self._put(response, slot, dispatched.id, None if answer is None else encode(dispatched.id, answer))

    def _reserve_wait(self, dispatched: Dispatched) -> Dispatched:
        """Reserve the wait of a request whose response is deferred; where that fails return its error instead."""
        try:
            self._deferred.reserve()
        except RavenError as error:
            failure = messages.failure(dispatched.id, errors.to_wire(error))
            return dispatched._replace(work=None, response=failure if dispatched.wants_response else None)
        return dispatched

    def _on_parsed(self, line: bytes, value: Any) -> None:
        """Go on with a long line: a dispatched request, the elements of a batch, or an error."""
        if isinstance(value, Dispatched):
            response = LineResponse(1, is_batch=False, is_long=True)
            self._responses.append(response)
            return self._start(value, response, len(line))
        if isinstance(value, list):
            if self._open_batch(value, is_long=True):
                return None
        elif isinstance(value, messages.ParseError):
            self._refuse_text(line, value)
        else:
            self._respond(messages.failure(None, errors.to_wire(value)))
        return self._long.release()

    def _dispatch_long(self, first: _Element) -> None:
        """Dispatch some elements of a long batch."""
        elements, response = [first.value], first.response
        while self.items and len(elements) < _MAX_ELEMENTS:
            item = self.items[0]
            if not isinstance(item, _Element) or item.response is not response:
                break
            elements.append(item.value)
            self.items.popleft()

        def start(all_dispatched: list[Dispatched]) -> None:
            for dispatched in all_dispatched:
                self._start(dispatched, response, _ELEMENT_SIZE)

        self._long.dispatch(elements, self._dispatch, start)

    def _dispatch(self, value: Any) -> Dispatched:
        if isinstance(value, batch.Unparsed):
            try:
                value, _ = messages.decode_at(value.text, 0)
            except messages.ParseError as error:  # it nests nearly too deep: the stack was shorter at the first time
                refusal = errors.standard(messages.PARSE_ERROR, str(error))
                return Dispatched(True, None, messages.failure(None, refusal), None)
        return self._dispatcher.dispatch(value, self._context)

    def _respond(self, response: dict[str, Any]) -> None:
        self._responses.append(immediate(response))
