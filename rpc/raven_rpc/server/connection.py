"""Connection: one client of the socket; it reads requests and writes responses in order."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial
from time import thread_time
from typing import Any, Protocol, cast

from raven.errors import ForbiddenError, LimitError, RavenError
from raven.host.admission import Rates, Share
from raven.host.deferred import Deferred, DeferredSet
from raven.host.host import Host
from raven.host.leases import Leases
from raven.host.limits import PATIENCE_S, Answers
from raven.host.subscriptions import Subscriptions
from raven.host.worker import Outcome, capture
from raven_rpc.jsonrpc import errors, messages, unix_socket
from raven_rpc.jsonrpc.framing import Lines
from raven_rpc.methods.context import Context, Facts
from raven_rpc.server.dispatch import Dispatcher
from raven_rpc.server.intake import Intake
from raven_rpc.server.long_input import LongInput
from raven_rpc.server.memory import LONG_LINE, MAX_WAITING
from raven_rpc.server.request_queue import MAX_PENDING, RequestQueue
from raven_rpc.server.responses import LineResponse, QueuedRequest
from raven_rpc.server.sink import LineSink

# One connection starts at most this many requests before another has its turn.
_MAX_PER_TURN = 50
# And no other after this much CPU time, however long each of them takes.
_TURN_S = 0.005
_WRITE_BUFFER = 64 * 1024


class Owner(Facts, Protocol):
    """The server, as far as its connections use it."""

    host: Host
    dispatcher: Dispatcher
    bound: tuple[str, ...]
    allowed_uids: frozenset[int]
    max_request: int
    max_connections: int
    completed: set[Connection]  # connections with responses to write
    buffer: bytearray  # all connections read into it, one at a time
    answers: Answers
    rates: Rates | None

    def admit(self, connection: Connection) -> bool:
        """Count a connection in; returns False at the limit."""

    def forget(self, connection: Connection) -> None:
        """Count a connection out."""


class Connection(asyncio.BufferedProtocol):
    """Reads lines, dispatches them, and writes responses in the order of the requests, deferred ones on completion.

    The server stops reading from a client that does not read its responses.
    """

    def __init__(self, server: Owner) -> None:
        self._server = server
        self._host = host = server.host
        self._loop = host.loop
        self._lines = Lines(server.max_request)
        self._responses: deque[LineResponse] = deque()
        self._deferred_lines: set[LineResponse] = set()  # a part of each is deferred: they block no other response
        self._is_reading = True
        self._turn_is_planned = False
        self.leases = Leases()
        self.sink = LineSink(self.leases, self._close_soon, server.answers)
        self._long = LongInput(host, self.sink, self, server.max_request)
        self.subscriptions = Subscriptions(host, self.sink)
        self.deferred = DeferredSet(host, self.sink)
        self._queue = RequestQueue(host, self.sink, self.complete, partial(server.completed.add, self), server.answers)
        context = Context(
            host,
            server,
            bound=server.bound,
            leases=self.leases,
            subscriptions=self.subscriptions,
            deferred=self.deferred,
        )
        self._share = None if server.rates is None else Share(server.rates)
        self._intake = Intake(
            server.dispatcher,
            context,
            self.deferred,
            self._queue,
            self._long,
            self._responses,
            self._put,
            server.max_request,
            self._share,
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

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return the buffer to read into."""
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Split the data into lines."""
        if self._intake.has_ended or self.sink.is_closed:
            return
        for line in self._lines.cut(bytes(memoryview(self._server.buffer)[:nbytes])):
            self._intake.add_line(line)
        if self._lines.size > LONG_LINE:
            self._long.take_place()
        self.process_input()

    def eof_received(self) -> bool:
        """Respond to all requests, then close; a last line without a newline counts."""
        rest = self._lines.rest()
        if rest:
            self._intake.add_line(rest)
        self.stop_reading()
        return True

    def pause_writing(self) -> None:
        """Read no more requests while the client does not read."""
        self.sink.is_full = True

    def resume_writing(self) -> None:
        """Continue with requests, subscriptions and deferred responses."""
        self.sink.is_full = self.sink.is_closed
        self.sink.count_read()
        self._queue.start()
        self.process_input()
        self.subscriptions.resume()
        self.deferred.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the requests, and release the messages that were pushed and not acked."""
        self.sink.is_closed = self.sink.is_full = True
        self._intake.items.clear()
        self._queue.clear()
        self._responses.extend(self._deferred_lines)
        self._deferred_lines.clear()
        while self._responses:
            self._follow_up(self._responses.popleft())
        self.deferred.close()
        if self.sink.transport is not None:
            unix_socket.shut_down(self.sink.transport)
        self.subscriptions.close()
        self.sink.count_dropped()
        self._long.release()
        self._server.forget(self)

    # Called by the server

    def stop_reading(self) -> None:
        """Read no more requests and push no more messages; close after the last response."""
        self._intake.has_ended = True
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
        if self.sink.is_stalled() and self._server.answers.held > self._server.answers.limit:
            self.abort()
        transport = self.sink.transport
        if (
            self._intake.has_ended
            and self._deferred_lines
            and transport is not None
            and unix_socket.peer_closed(transport)
        ):
            transport.abort()

    def end_unfinished(self) -> None:
        """End the connection with an error if it has not finished a long line."""
        if self._lines.size > LONG_LINE:
            text = f"a long line was not finished within {PATIENCE_S:g} s, and others wait for its place in memory"
            self._refuse(LimitError(text))

    def has_no_fifo(self) -> bool:
        """Whether a poller of this connection has no doorbell, and must poll more often."""
        return self.subscriptions.has_no_fifo() or self.deferred.has_no_fifo()

    def abort(self) -> None:
        """Close at once; unwritten responses are lost."""
        if self.sink.transport is not None:
            self.sink.transport.abort()

    # Requests

    def process_input(self) -> None:
        """Start up to `_MAX_PER_TURN` requests, for about `_TURN_S`, and plan a turn for the rest."""
        intake, end = self._intake, 0.0
        for number in range(_MAX_PER_TURN):
            if not intake.items or self._is_busy():
                break
            if number == 1:
                end = thread_time() + _TURN_S
            elif number and thread_time() > end:
                break
            intake.process_next()
        self._flush()
        if self._queue.count:
            self._queue.start()
        if self._long.awaits_place:
            self._long.take_place()
        transport = self.sink.transport
        if self.sink.is_closed or transport is None:
            return
        is_busy = self._is_busy()
        if intake.items and not is_busy:
            self._plan_turn()
        wants_more = not (intake.items or is_busy or intake.has_ended or self._long.awaits_place)
        if wants_more != self._is_reading:
            self._is_reading = wants_more
            with suppress(RuntimeError):
                transport.resume_reading() if wants_more else transport.pause_reading()
        if intake.has_ended and not (
            intake.items
            or self._long.is_working
            or self._responses
            or self._deferred_lines
            or self.subscriptions.is_fetching()
        ):
            transport.close()

    def _plan_turn(self) -> None:
        if not self._turn_is_planned:
            self._turn_is_planned = True
            self._loop.call_soon(self._on_turn)

    def _close_soon(self) -> None:
        """Plan a turn if the connection waited only for messages on their way to the client."""
        if self._intake.has_ended:
            self._plan_turn()

    def _on_turn(self) -> None:
        self._turn_is_planned = False
        self.process_input()

    def _is_busy(self) -> bool:
        queue = self._queue
        if self.sink.is_full or queue.count >= MAX_PENDING or queue.size > MAX_WAITING or self._long.is_working:
            return True
        return self._share is not None and self._is_slowed(self._share.wait_s())

    def _is_slowed(self, wait_s: float) -> bool:
        """Plan a turn for the end of the time for which this client is slowed down; returns whether it is."""
        if wait_s and not self._turn_is_planned:
            self._turn_is_planned = True
            self._loop.call_later(wait_s, self._on_turn)
        return wait_s > 0

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
            if request.response.is_long:
                self._long.release()
            if request.response not in self._deferred_lines:
                self._responses.remove(request.response)
                self._deferred_lines.add(request.response)
            self.deferred.start(deferred, partial(self._on_deferred, request), request.encode)

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
        dispatched = request.dispatched
        if outcome.error is not None:
            self._server.dispatcher.errors += 1
            request.drop_text(self.sink)
            request.text = messages.encode(messages.failure(dispatched.id, errors.to_wire(outcome.error)))
        elif dispatched.wants_response:
            if request.text is None:
                request.encode(outcome.value)
            elif work.deferred is not None:
                request.cut(outcome.value)
            request.hold(self.sink)
        is_done = request.is_write and outcome.error is None
        text = request.text if dispatched.wants_response else None
        is_counted = is_done and request.is_counted
        self._put(request.response, request.slot, dispatched.id, text, is_done, is_counted)

    def _put(
        self,
        line: LineResponse,
        slot: int,
        id: Any,
        text: bytes | None,
        is_done: bool = False,
        is_counted: bool = False,
    ) -> None:
        """Put a response into its slot; a deferred line that is complete is the next to be written."""
        line.put(slot, id, text, is_done=is_done, is_counted=is_counted)
        if line.missing:
            return
        if line in self._deferred_lines:
            self._deferred_lines.remove(line)
            self._responses.appendleft(line)
        elif line.is_long:
            self._long.release()

    # Responses

    def _flush(self) -> None:
        """Write the complete responses, up to the first that is incomplete."""
        lines, followed, long = [], [], 0
        while self._responses and not self._responses[0].missing:
            response = self._responses.popleft()
            lines.append(response.line())
            long += response.long_bytes
            if response.after_reply:
                followed.append(response)
        if lines:
            self.sink.write_line(b"".join(lines), long)
        for response in followed:
            self._follow_up(response)

    def _follow_up(self, response: LineResponse) -> None:
        """Plan the callbacks that follow a response, even if the client has gone."""
        while response.after_reply:
            self._loop.call_soon(response.after_reply.pop())

    def _refuse(self, error: RavenError) -> None:
        """Write the error, and close."""
        self._intake.has_ended = True
        self.sink.write_line(messages.encode(messages.failure(None, errors.to_wire(error))))
        if self.sink.transport is not None:
            self.sink.transport.close()
