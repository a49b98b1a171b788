"""Connection: one client of the socket, its requests in and the answers out, in order."""

from __future__ import annotations

import array
import asyncio
import fcntl
import re
import sys
import termios
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from raven import ForbiddenError, LimitError, RavenError
from raven_rpc import faults, protocol, sockets
from raven_rpc.answers import Answer, Pending, ready
from raven_rpc.caller import Caller
from raven_rpc.subscriptions import Subscriptions
from raven_rpc.work import Outcome, attempt

if TYPE_CHECKING:
    from raven_rpc.server import Server

# So many requests of one connection may be under way, or fewer heavy ones; then it is read no further.
MAX_PENDING = 1000
# So many requests of one connection are begun before another has its turn.
_TURN = 50
_WRITE_BUFFER = 64 * 1024
_HTTP = re.compile(rb"(GET|POST|PUT|HEAD|OPTIONS|DELETE|PATCH|CONNECT|TRACE|PRI) \S+ HTTP/\d")


class Connection(asyncio.Protocol):
    """Reads lines, has them dispatched, and writes the answers in the order of the requests.

    Writes of one connection run in their order, and so do reads; a read waits for the writes before it, and a write for
    the reads. A client that does not read its answers is not read from either.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = server.loop
        self._partial = bytearray()
        self._is_skipping = False  # what is left of a line that was too long
        # Lines, elements of a batch that was taken apart, and answers that are ready.
        self._todo: deque[bytes | tuple[Any, Answer] | Answer] = deque()
        self._answers: deque[Answer] = deque()
        self._waiting: deque[Pending] = deque()
        self._running = self._weight = 0
        self._lane = ""
        self._is_full = False
        self._has_ended = False
        self._is_reading = True
        self._turn_is_planned = False
        self.is_closed = False
        self.fetching = 0  # how many subscriptions have messages on their way, acked already or leased
        self.transport: asyncio.Transport | None = None
        self.subscriptions = Subscriptions(server, self)
        self._caller = Caller(server.share, server.bound, server, self)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, unless it is of another user or one too many."""
        self.transport = transport = cast(asyncio.Transport, transport)
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
        if self._has_ended or self.is_closed:
            return
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._end_line(end)
        if not self._is_skipping:
            self._partial += rest
            if len(self._partial) > self._server.max_request:
                self._is_skipping = True
                self._partial.clear()
                self._refuse_line()
        self.take_turn()

    def eof_received(self) -> bool:
        """Answer what was asked, and then close; a last line without its newline counts."""
        if self._partial.strip():
            self._todo.append(bytes(self._partial))
        self._partial.clear()
        self.stop_reading()
        return True

    def pause_writing(self) -> None:
        """Ask for no more while the client does not read."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_full = False
        self._start()
        self.take_turn()
        self.subscriptions.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was asked, and give back what was pushed and not acked."""
        self.is_closed = True
        self._todo.clear()
        self._waiting.clear()
        while self._answers:
            self._follow_up(self._answers.popleft())
        self.subscriptions.close()
        self._server.forget(self)

    # What the server and the subscriptions use

    def stop_reading(self) -> None:
        """Take no more requests and push no more; close when the requests that were taken are answered."""
        self._has_ended = True
        self.subscriptions.pause()
        self.take_turn()

    def push(self, lines: bytes) -> None:
        """Write notifications."""
        if self.transport is not None and not self.is_closed:
            self.transport.write(lines)

    def is_full(self) -> bool:
        """Whether the client does not read as fast as it is written to."""
        return self._is_full or self.is_closed

    def unread(self) -> int:
        """Return how much of what was written the client has not read, as far as the system tells."""
        if self.transport is None or self.is_closed:
            return 0
        size = self.transport.get_write_buffer_size()
        if sys.platform == "linux":
            found = array.array("i", [0])
            with suppress(OSError):
                fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, found)
            size += found[0]
        return size

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
        if self.is_closed or self.transport is None:
            return
        if self._todo and not self._is_busy() and not self._turn_is_planned:
            self._turn_is_planned = True
            self._loop.call_soon(self._take_next_turn)
        wants_more = not self._todo and not self._is_busy() and not self._has_ended
        if wants_more != self._is_reading:
            self._is_reading = wants_more
            with suppress(RuntimeError):
                self.transport.resume_reading() if wants_more else self.transport.pause_reading()
        if self._has_ended and not self._todo and not self._answers and not self.fetching:
            self.transport.close()

    def _take_next_turn(self) -> None:
        self._turn_is_planned = False
        self.take_turn()

    def _end_line(self, end: bytes) -> None:
        """Take the end of a line, or all of one, that came before a newline."""
        if self._is_skipping:
            self._is_skipping = False
            return
        line = bytes(self._partial) + end if self._partial else end
        self._partial.clear()
        if len(line) > self._server.max_request:
            self._refuse_line()
        elif line.strip():
            self._todo.append(line)

    def _is_busy(self) -> bool:
        return self._is_full or self.is_closed or len(self._waiting) + self._running >= MAX_PENDING

    def _take_line(self, line: bytes) -> None:
        if _HTTP.match(line):
            reason = "this socket speaks JSON-RPC 2.0, one JSON text per line, and no HTTP"
            self._todo.clear()
            self._has_ended = True
            return self._answer(protocol.failure(None, faults.standard(protocol.PARSE_ERROR, reason)))
        try:
            value = protocol.parse(line)
        except protocol.ParseError as error:
            return self._answer(protocol.failure(None, faults.standard(protocol.PARSE_ERROR, str(error))))
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
        reply = self._server.dispatch(request, self._caller)
        if reply.work is None:
            answer.put(place, reply.response)
        else:
            self._waiting.append(Pending(answer, place, reply, reply.work))
            self._start()

    def _start(self) -> None:
        """Start the work that may run now: what shares the lane of what runs, and anything where nothing does."""
        while self._waiting and not self._is_full:
            work = self._waiting[0].work
            if self._running and (
                work.lane == "loop" or work.lane != self._lane or self._weight + work.weight > MAX_PENDING
            ):
                return
            pending = self._waiting.popleft()
            self._running += 1
            self._weight += work.weight
            self._lane = work.lane
            if work.lane == "loop":
                self._settle(pending, attempt(work.run))
            else:
                self._server.submit(work.lane, work.run, partial(self._finish, pending), work.weight)

    def _finish(self, pending: Pending, outcome: Outcome) -> None:
        self._settle(pending, outcome)
        if self.is_closed:
            return
        self._start()
        # Not at once: what was committed together is answered in one piece.
        self._server.settled.add(self)

    def _settle(self, pending: Pending, outcome: Outcome) -> None:
        """Answer a request with what its work came to."""
        self._running -= 1
        work = pending.work
        self._weight -= work.weight
        if outcome.error is None and work.after is not None:
            pending.answer.after.append(partial(work.after, outcome.value))
        if self.is_closed:
            self._follow_up(pending.answer)
            return
        response = None
        if outcome.error is not None:
            self._server.count_error()
            response = protocol.failure(pending.id, faults.to_wire(outcome.error))
        elif pending.wanted:
            response = protocol.success(pending.id, work.answer(outcome.value))
        pending.answer.put(pending.place, response if pending.wanted else None)

    # Answers

    def _flush(self) -> None:
        """Write the answers that are ready, up to the first that is not."""
        lines, written = [], []
        while self._answers and not self._answers[0].missing:
            written.append(self._answers.popleft())
            lines.append(written[-1].line())
        if lines and self.transport is not None and not self.is_closed:
            self.transport.write(b"".join(lines))
        for answer in written:
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
        self.push(protocol.encode(protocol.failure(None, faults.to_wire(error))))
        if self.transport is not None:
            self.transport.close()
