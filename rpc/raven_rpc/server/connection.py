"""Connection: one client of the socket, its requests in and the answers out, in order."""

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
from raven_rpc.jsonrpc import errors as faults
from raven_rpc.jsonrpc import messages as protocol
from raven_rpc.jsonrpc import unix_socket as sockets
from raven_rpc.jsonrpc.framing import Lines
from raven_rpc.methods.context import Context, Facts
from raven_rpc.server.dispatch import Dispatcher
from raven_rpc.server.request_queue import MAX_PENDING, Lanes
from raven_rpc.server.responses import Answer, Pending, ready
from raven_rpc.server.sink import LineSink

# So many requests of one connection are begun before another has its turn.
_TURN = 50
_WRITE_BUFFER = 64 * 1024
_HTTP = re.compile(rb"(GET|POST|PUT|HEAD|OPTIONS|DELETE|PATCH|CONNECT|TRACE|PRI) \S+ HTTP/\d")


class Owner(Facts, Protocol):
    """What a connection needs of the server that it belongs to."""

    host: Host
    dispatcher: Dispatcher
    bound: tuple[str, ...]
    allowed_uids: frozenset[int]
    max_request: int
    max_connections: int
    settled: set[Connection]  # those with answers that are ready to be written

    def admit(self, connection: Connection) -> bool:
        """Count a connection in, unless it is one too many."""

    def forget(self, connection: Connection) -> None:
        """Count a connection out."""


class Connection(asyncio.Protocol):
    """Reads lines, has them dispatched, and writes the answers in the order of the requests; late ones when they come.

    A client that does not read its answers is not read from either.
    """

    def __init__(self, server: Owner) -> None:
        self._server = server
        self._host = host = server.host
        self._loop = host.loop
        self._dispatch = server.dispatcher.dispatch
        self._lines = Lines(server.max_request)
        # Lines, elements of a batch that was taken apart, and answers that are ready.
        self._todo: deque[bytes | tuple[Any, Answer] | Answer] = deque()
        self._answers: deque[Answer] = deque()
        self._late: set[Answer] = set()  # those that hold up no other, since a part of them waits
        self._has_ended = False
        self._is_reading = True
        self._turn_is_planned = False
        self.leases = Leases()
        self.sink = LineSink(self.leases, self._close_soon)
        self.subscriptions = Subscriptions(host, self.sink)
        self.deferred = DeferredSet(host, self.sink)
        self._lanes = Lanes(host, self.sink, self.settle, partial(server.settled.add, self))
        self._context = Context(
            host,
            server,
            bound=server.bound,
            leases=self.leases,
            subscriptions=self.subscriptions,
            deferred=self.deferred,
        )

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, unless it is of another user or one too many."""
        self.sink.transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        uid = sockets.peer_uid(transport.get_extra_info("socket"))
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
        """Cut what came into lines."""
        if self._has_ended or self.sink.is_closed:
            return
        for line in self._lines.cut(data):
            if line is None:
                self._refuse_line()
            else:
                self._todo.append(line)
        self.take_turn()

    def eof_received(self) -> bool:
        """Answer what was asked, and then close; a last line without its newline counts."""
        rest = self._lines.rest()
        if rest:
            self._todo.append(rest)
        self.stop_reading()
        return True

    def pause_writing(self) -> None:
        """Ask for no more while the client does not read."""
        self.sink.is_full = True

    def resume_writing(self) -> None:
        """Go on."""
        self.sink.is_full = self.sink.is_closed
        self._lanes.start()
        self.take_turn()
        self.subscriptions.resume()
        self.deferred.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was asked, and give back what was pushed and not acked."""
        self.sink.is_closed = self.sink.is_full = True
        self._todo.clear()
        self._lanes.clear()
        self._answers.extend(self._late)
        self._late.clear()
        while self._answers:
            self._follow_up(self._answers.popleft())
        self.deferred.close()
        self.subscriptions.close()
        self._server.forget(self)

    # What the server uses

    def stop_reading(self) -> None:
        """Take no more requests and push no more; close when the requests that were taken are answered."""
        self._has_ended = True
        self.subscriptions.pause()
        self.take_turn()

    def stop(self) -> None:
        """Take no more requests, and let none wait any longer: the server stops."""
        self.deferred.stop()
        self.stop_reading()

    def tick(self, changed: bool) -> None:
        """Once a second, for what is subscribed to and what waits."""
        self.subscriptions.tick(changed)
        self.deferred.tick(changed)
        transport = self.sink.transport
        if self._has_ended and self._late and transport is not None and sockets.peer_closed(transport):
            transport.abort()

    def has_no_fifo(self) -> bool:
        """Whether something here has no doorbell, and must look more often."""
        return self.subscriptions.has_no_fifo() or self.deferred.has_no_fifo()

    def abort(self) -> None:
        """Close at once, whatever is still to be written."""
        if self.sink.transport is not None:
            self.sink.transport.abort()

    # Requests

    def take_turn(self) -> None:
        """Begin some requests, and see to it that the rest have their turn."""
        for _ in range(_TURN):
            if not self._todo or self._is_busy():
                break
            item = self._todo.popleft()
            if isinstance(item, bytes):
                self._take_line(item)
            elif isinstance(item, Answer):
                self._answers.append(item)
            else:
                self._take_request(*item)
        self._flush()
        transport = self.sink.transport
        if self.sink.is_closed or transport is None:
            return
        is_busy = self._is_busy()
        if self._todo and not is_busy:
            self._plan_turn()
        wants_more = not (self._todo or is_busy or self._has_ended)
        if wants_more != self._is_reading:
            self._is_reading = wants_more
            with suppress(RuntimeError):
                transport.resume_reading() if wants_more else transport.pause_reading()
        if self._has_ended and not (self._todo or self._answers or self._late or self.subscriptions.is_fetching()):
            transport.close()

    def _plan_turn(self) -> None:
        if not self._turn_is_planned:
            self._turn_is_planned = True
            self._loop.call_soon(self._take_next_turn)

    def _close_soon(self) -> None:
        """Take a turn if the connection waited only for what was on its way to the client."""
        if self._has_ended:
            self._plan_turn()

    def _take_next_turn(self) -> None:
        self._turn_is_planned = False
        self.take_turn()

    def _is_busy(self) -> bool:
        return self.sink.is_full or self._lanes.count >= MAX_PENDING

    def _take_line(self, line: bytes) -> None:
        try:
            value = protocol.parse(line)
        except protocol.ParseError as error:
            reason = str(error)
            if _HTTP.match(line):
                reason = "this socket speaks JSON-RPC 2.0, one JSON text per line, and no HTTP"
                self._todo.clear()
                self._has_ended = True
            return self._answer(protocol.failure(None, faults.standard(protocol.PARSE_ERROR, reason)))
        if not isinstance(value, list):
            answer = Answer(1, is_batch=False)
            self._answers.append(answer)
            return self._take_request(value, answer)
        if not value:
            reason = "a batch holds at least one request"
            return self._answer(protocol.failure(None, faults.standard(protocol.INVALID_REQUEST, reason)))
        if len(value) > protocol.MAX_BATCH:
            limit = LimitError(f"a batch of {len(value):,} requests is over the limit of {protocol.MAX_BATCH:,}")
            return self._answer(protocol.failure(None, faults.to_wire(limit)))
        answer = Answer(len(value), is_batch=True)
        self._answers.append(answer)
        self._todo.extendleft((element, answer) for element in reversed(value))
        return None

    def _take_request(self, request: Any, answer: Answer) -> None:
        place = answer.take_place()
        reply = self._dispatch(request, self._context)
        if reply.work is None:
            self._put(answer, place, reply.response)
        else:
            self._lanes.run(Pending(answer, place, reply, reply.work), is_last=not self._todo)

    def settle(self, pending: Pending, outcome: Outcome) -> None:
        """Answer a request with what its work came to, or let it wait."""
        work = pending.work
        if outcome.error is None:
            if work.at_once is not None:
                work.at_once(outcome.value)
            if work.wait is not None:
                made = capture(partial(work.wait, outcome.value))
                if made.value is not None:
                    return self._defer(pending, made.value)
                outcome = outcome if made.error is None else made
        return self._conclude(pending, outcome)

    def _defer(self, pending: Pending, deferred: Deferred) -> None:
        """Let a request be answered when a wait ends; no other is held up."""
        if self.sink.is_closed:
            deferred.cancel()
        else:
            if pending.answer not in self._late:
                self._answers.remove(pending.answer)
                self._late.add(pending.answer)
            self.deferred.start(deferred, partial(self._on_deferred, pending))

    def _on_deferred(self, pending: Pending, outcome: Outcome) -> None:
        self._conclude(pending, outcome)
        self._plan_turn()

    def _conclude(self, pending: Pending, outcome: Outcome) -> None:
        """Answer a request."""
        work = pending.work
        if work.wait is not None:
            self.deferred.release()
        if outcome.error is None and work.after is not None:
            pending.answer.after.append(partial(work.after, outcome.value))
        if self.sink.is_closed:
            self._follow_up(pending.answer)
            return
        reply, response = pending.reply, None
        if outcome.error is not None:
            self._server.dispatcher.errors += 1
            response = protocol.failure(reply.id, faults.to_wire(outcome.error))
        elif reply.wanted:
            response = protocol.success(reply.id, work.answer(outcome.value))
        self._put(pending.answer, pending.place, response if reply.wanted else None)

    def _put(self, answer: Answer, place: int, response: dict[str, Any] | None) -> None:
        """Put a response in its place; an answer that is late is the next to be written once it is whole."""
        answer.put(place, response)
        if not answer.missing and answer in self._late:
            self._late.remove(answer)
            self._answers.appendleft(answer)

    # Answers

    def _flush(self) -> None:
        """Write the answers that are ready, up to the first that is not."""
        lines, followed = [], []
        while self._answers and not self._answers[0].missing:
            answer = self._answers.popleft()
            lines.append(answer.line())
            if answer.after:
                followed.append(answer)
        if lines:
            self.sink.write_line(b"".join(lines))
        for answer in followed:
            self._follow_up(answer)

    def _follow_up(self, answer: Answer) -> None:
        """Plan what is to be done after an answer, even if nobody waits for it any more."""
        while answer.after:
            self._loop.call_soon(answer.after.pop())

    def _answer(self, response: dict[str, Any]) -> None:
        self._answers.append(ready(response))

    def _refuse_line(self) -> None:
        limit = LimitError(f"a request is over the limit of {self._server.max_request:,} bytes: send less at once")
        self._todo.append(ready(protocol.failure(None, faults.to_wire(limit))))

    def _refuse(self, error: RavenError) -> None:
        """Say why, and close."""
        self._has_ended = True
        self.sink.write_line(protocol.encode(protocol.failure(None, faults.to_wire(error))))
        if self.sink.transport is not None:
            self.sink.transport.close()
