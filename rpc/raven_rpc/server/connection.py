"""Connection: one client of the socket; it reads requests and writes responses in order."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, cast

from raven.errors import ForbiddenError, LimitError, RavenError
from raven.host.deferred import Deferred, DeferredSet
from raven.host.host import Host
from raven.host.leases import Leases
from raven.host.subscriptions import Subscriptions
from raven.host.worker import Outcome, capture
from raven_rpc.jsonrpc import errors, messages, unix_socket
from raven_rpc.jsonrpc.framing import Lines
from raven_rpc.methods.context import Context, Facts
from raven_rpc.server.dispatch import Dispatcher
from raven_rpc.server.request_queue import MAX_PENDING, RequestQueue
from raven_rpc.server.responses import LineResponse, QueuedRequest, immediate
from raven_rpc.server.sink import LineSink

# One connection starts at most this many requests before another has its turn.
_MAX_PER_TURN = 50
_WRITE_BUFFER = 64 * 1024
_HTTP = re.compile(rb"(GET|POST|PUT|HEAD|OPTIONS|DELETE|PATCH|CONNECT|TRACE|PRI) \S+ HTTP/\d")


class Owner(Facts, Protocol):
    """The server, as far as its connections use it."""

    host: Host
    dispatcher: Dispatcher
    bound: tuple[str, ...]
    allowed_uids: frozenset[int]
    max_request: int
    max_connections: int
    completed: set[Connection]  # connections with responses to write

    def admit(self, connection: Connection) -> bool:
        """Count a connection in; returns False at the limit."""

    def forget(self, connection: Connection) -> None:
        """Count a connection out."""


class Connection(asyncio.Protocol):
    """Reads lines, dispatches them, and writes responses in the order of the requests, deferred ones on completion.

    The server stops reading from a client that does not read its responses.
    """

    def __init__(self, server: Owner) -> None:
        self._server = server
        self._host = host = server.host
        self._loop = host.loop
        self._dispatch = server.dispatcher.dispatch
        self._lines = Lines(server.max_request)
        # Lines, elements of an opened batch, and responses that are complete.
        self._inbox: deque[bytes | tuple[Any, LineResponse] | LineResponse] = deque()
        self._responses: deque[LineResponse] = deque()
        self._deferred_lines: set[LineResponse] = set()  # a part of each is deferred: they block no other response
        self._has_ended = False
        self._is_reading = True
        self._turn_is_planned = False
        self.leases = Leases()
        self.sink = LineSink(self.leases, self._close_soon)
        self.subscriptions = Subscriptions(host, self.sink)
        self.deferred = DeferredSet(host, self.sink)
        self._queue = RequestQueue(host, self.sink, self.complete, partial(server.completed.add, self))
        self._context = Context(
            host,
            server,
            bound=server.bound,
            leases=self.leases,
            subscriptions=self.subscriptions,
            deferred=self.deferred,
        )

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the client unless its user is not allowed or the limit of connections is reached."""
        self.sink.transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        uid = unix_socket.peer_uid(transport.get_extra_info("socket"))
        if uid not in self._server.allowed_uids:
            return self._refuse(ForbiddenError(f"user {uid} may not use this socket: see `raven serve --allow-uid`"))
        if not self._server.admit(self):
            error = LimitError(
                f"{self._server.max_connections:,} connections are open, which is the limit: close one, or try again"
            )
            error.retryable = True
            return self._refuse(error)
        return None

    def data_received(self, data: bytes) -> None:
        """Split the data into lines."""
        if self._has_ended or self.sink.is_closed:
            return
        for line in self._lines.cut(data):
            if line is None:
                self._refuse_line()
            else:
                self._inbox.append(line)
        self.process_input()

    def eof_received(self) -> bool:
        """Respond to all requests, then close; a last line without a newline counts."""
        rest = self._lines.rest()
        if rest:
            self._inbox.append(rest)
        self.stop_reading()
        return True

    def pause_writing(self) -> None:
        """Read no more requests while the client does not read."""
        self.sink.is_full = True

    def resume_writing(self) -> None:
        """Continue with requests, subscriptions and deferred responses."""
        self.sink.is_full = self.sink.is_closed
        self._queue.start()
        self.process_input()
        self.subscriptions.resume()
        self.deferred.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the requests, and release the messages that were pushed and not acked."""
        self.sink.is_closed = self.sink.is_full = True
        self._inbox.clear()
        self._queue.clear()
        self._responses.extend(self._deferred_lines)
        self._deferred_lines.clear()
        while self._responses:
            self._follow_up(self._responses.popleft())
        self.deferred.close()
        if self.sink.transport is not None:
            unix_socket.shut_down(self.sink.transport)
        self.subscriptions.close()
        self._server.forget(self)

    # Called by the server

    def stop_reading(self) -> None:
        """Read no more requests and push no more messages; close after the last response."""
        self._has_ended = True
        self.subscriptions.pause()
        self.process_input()

    def stop(self) -> None:
        """Read no more requests, and complete the deferred ones with ClosedError: the server stops."""
        self.deferred.stop()
        self.stop_reading()

    def tick(self, changed: bool) -> None:
        """Once a second: tick the subscriptions and the deferred requests."""
        self.subscriptions.tick(changed)
        self.deferred.tick(changed)
        transport = self.sink.transport
        if self._has_ended and self._deferred_lines and transport is not None and unix_socket.peer_closed(transport):
            transport.abort()

    def has_no_fifo(self) -> bool:
        """Whether a poller of this connection has no doorbell, and must poll more often."""
        return self.subscriptions.has_no_fifo() or self.deferred.has_no_fifo()

    def abort(self) -> None:
        """Close at once; unwritten responses are lost."""
        if self.sink.transport is not None:
            self.sink.transport.abort()

    # Requests

    def process_input(self) -> None:
        """Start up to `_MAX_PER_TURN` requests, and plan a turn for the rest."""
        for _ in range(_MAX_PER_TURN):
            if not self._inbox or self._is_busy():
                break
            item = self._inbox.popleft()
            if isinstance(item, bytes):
                self._process_line(item)
            elif isinstance(item, LineResponse):
                self._responses.append(item)
            else:
                self._start_request(*item)
        self._flush()
        transport = self.sink.transport
        if self.sink.is_closed or transport is None:
            return
        is_busy = self._is_busy()
        if self._inbox and not is_busy:
            self._plan_turn()
        wants_more = not (self._inbox or is_busy or self._has_ended)
        if wants_more != self._is_reading:
            self._is_reading = wants_more
            with suppress(RuntimeError):
                transport.resume_reading() if wants_more else transport.pause_reading()
        if self._has_ended and not (
            self._inbox or self._responses or self._deferred_lines or self.subscriptions.is_fetching()
        ):
            transport.close()

    def _plan_turn(self) -> None:
        if not self._turn_is_planned:
            self._turn_is_planned = True
            self._loop.call_soon(self._on_turn)

    def _close_soon(self) -> None:
        """Plan a turn if the connection waited only for messages on their way to the client."""
        if self._has_ended:
            self._plan_turn()

    def _on_turn(self) -> None:
        self._turn_is_planned = False
        self.process_input()

    def _is_busy(self) -> bool:
        return self.sink.is_full or self._queue.count >= MAX_PENDING

    def _process_line(self, line: bytes) -> None:
        try:
            value = messages.parse(line)
        except messages.ParseError as error:
            reason = str(error)
            if _HTTP.match(line):
                reason = "this socket speaks JSON-RPC 2.0, one JSON text per line, and no HTTP"
                self._inbox.clear()
                self._has_ended = True
            return self._respond(messages.failure(None, errors.standard(messages.PARSE_ERROR, reason)))
        if not isinstance(value, list):
            response = LineResponse(1, is_batch=False)
            self._responses.append(response)
            return self._start_request(value, response)
        if not value:
            reason = "a batch holds at least one request"
            return self._respond(messages.failure(None, errors.standard(messages.INVALID_REQUEST, reason)))
        if len(value) > messages.MAX_BATCH:
            limit = LimitError(f"a batch of {len(value):,} requests is over the limit of {messages.MAX_BATCH:,}")
            return self._respond(messages.failure(None, errors.to_wire(limit)))
        response = LineResponse(len(value), is_batch=True)
        self._responses.append(response)
        self._inbox.extendleft((element, response) for element in reversed(value))
        return None

    def _start_request(self, value: Any, response: LineResponse) -> None:
        slot = response.reserve()
        dispatched = self._dispatch(value, self._context)
        if dispatched.work is None:
            self._put(response, slot, dispatched.response)
        else:
            request = QueuedRequest(response, slot, dispatched, dispatched.work)
            self._queue.run(request, is_last=not self._inbox)

    def complete(self, request: QueuedRequest, outcome: Outcome) -> None:
        """Respond to a request with the outcome of its work, or defer its response."""
        work = request.work
        if outcome.error is None:
            if work.on_success is not None:
                work.on_success(outcome.value)
            if work.deferred is not None:
                deferred = capture(partial(work.deferred, outcome.value))
                if deferred.value is not None:
                    return self._defer(request, deferred.value)
                outcome = outcome if deferred.error is None else deferred
        return self._conclude(request, outcome)

    def _defer(self, request: QueuedRequest, deferred: Deferred) -> None:
        """Respond when a Deferred completes; until then the request blocks no other."""
        if self.sink.is_closed:
            deferred.cancel()
        else:
            if request.response not in self._deferred_lines:
                self._responses.remove(request.response)
                self._deferred_lines.add(request.response)
            self.deferred.start(deferred, partial(self._on_deferred, request))

    def _on_deferred(self, request: QueuedRequest, outcome: Outcome) -> None:
        self._conclude(request, outcome)
        self._plan_turn()

    def _conclude(self, request: QueuedRequest, outcome: Outcome) -> None:
        """Put the response to a request into its slot."""
        work = request.work
        if work.deferred is not None:
            self.deferred.release()
        if outcome.error is None and work.after_reply is not None:
            request.response.after_reply.append(partial(work.after_reply, outcome.value))
        if self.sink.is_closed:
            self._follow_up(request.response)
            return
        dispatched, response = request.dispatched, None
        if outcome.error is not None:
            self._server.dispatcher.errors += 1
            response = messages.failure(dispatched.id, errors.to_wire(outcome.error))
        elif dispatched.wants_response:
            response = messages.success(dispatched.id, work.to_result(outcome.value))
        self._put(request.response, request.slot, response if dispatched.wants_response else None)

    def _put(self, line: LineResponse, slot: int, response: dict[str, Any] | None) -> None:
        """Put a response into its slot; a deferred line that is complete is the next to be written."""
        line.put(slot, response)
        if not line.missing and line in self._deferred_lines:
            self._deferred_lines.remove(line)
            self._responses.appendleft(line)

    # Responses

    def _flush(self) -> None:
        """Write the complete responses, up to the first that is incomplete."""
        lines, followed = [], []
        while self._responses and not self._responses[0].missing:
            response = self._responses.popleft()
            lines.append(response.line())
            if response.after_reply:
                followed.append(response)
        if lines:
            self.sink.write_line(b"".join(lines))
        for response in followed:
            self._follow_up(response)

    def _follow_up(self, response: LineResponse) -> None:
        """Plan the callbacks that follow a response, even if the client has gone."""
        while response.after_reply:
            self._loop.call_soon(response.after_reply.pop())

    def _respond(self, response: dict[str, Any]) -> None:
        self._responses.append(immediate(response))

    def _refuse_line(self) -> None:
        limit = LimitError(f"a request is over the limit of {self._server.max_request:,} bytes: send less at once")
        self._inbox.append(immediate(messages.failure(None, errors.to_wire(limit))))

    def _refuse(self, error: RavenError) -> None:
        """Write the error, and close."""
        self._has_ended = True
        self.sink.write_line(messages.encode(messages.failure(None, errors.to_wire(error))))
        if self.sink.transport is not None:
            self.sink.transport.close()
