"""Connection: one client of the bridge, with limits on its size and its time."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, BufferedProtocol, Transport
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from raven_http.guard.refusal import KINDS, SECURITY_HEADERS, error_line
from raven_http.server.answer import CLOSE, Message, send_unchunked, write_whole
from raven_rpc.jsonrpc.unix_socket import peer_uid

# A client has this long for the head of a request, from its first byte; for the next part of a body; and for reading
# the next part of an answer. So long a connection may also be idle.
TIMEOUT_S = 30.0
# Besides, a body must come at this rate on average: a byte now and then does not keep a place.
_MIN_BYTES_PER_S = 1024
# A client that was refused has this long to read the answer.
_REFUSED_S = 2.0
_MAX_HEAD = 64 * 1024
# The parser gets this many bytes at once, and no more while a pipelined request waits for its turn.
_SLICE = 16 * 1024
_HEADERS = [(b"content-type", b"application/json"), CLOSE, *SECURITY_HEADERS]
# uvicorn warns of each malformed request; only its errors are worth a line.
_log = logging.getLogger("raven.http.connection")
_log.setLevel(logging.ERROR)

_Send = Callable[[Message], Awaitable[None]]


class Owner(Protocol):
    """The front, as far as its connections use it."""

    app: Callable[..., Awaitable[None]]
    allowed_uids: frozenset[int] | None  # of the clients of a Unix socket
    buffer: bytearray  # all connections read into it, one at a time
    config: Config
    is_stopped: bool
    max_requesting: int
    state: ServerState

    def admit(self, connection: Connection) -> bool:
        """Count a connection in; returns False at the limit."""

    def linger(self, connection: Connection) -> bool:
        """Keep a refused connection, so that its client can read why; returns False if many are kept already."""

    def count_stream(self, connection: Connection) -> None:
        """Count a connection among the event streams, and no more among the others."""

    def forget(self, connection: Connection) -> None:
        """Count a connection out."""


class _Flow(FlowControl):
    """Reads on only when the parser has got all that was read."""

    def __init__(self, transport: Transport, has_pending: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._has_pending = has_pending

    def resume_reading(self) -> None:
        """Read on, unless data is pending."""
        if not self._has_pending():
            super().resume_reading()


class Connection(HttpToolsProtocol, BufferedProtocol):
    """Reads requests and writes answers as uvicorn does, one after another; a slow client loses its connection."""

    def __init__(self, owner: Owner, loop: AbstractEventLoop) -> None:
        super().__init__(owner.config, owner.state, {}, loop)
        self.logger = _log
        self.access_log = False
        self.app = cast(Any, self._serve)
        self._owner = owner
        self._start: Message | None = None  # the head of an answer whose body is still to come
        self._running: RequestResponseCycle | None = None  # its request is the one that the app has
        self._failure: tuple[int, str] | None = None  # of a request that comes after that one
        self._pending = memoryview(b"")  # data that the parser has not got
        self._is_in_head = self._is_refused = self._is_stream = self._has_ended = False
        self._head_size = self._head_received = self._received = self._unsent = 0
        self._refused_until = 0.0
        self._since = self._received_at = self._read_at = loop.time()

    # Called by asyncio

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Accept the client unless its user is not allowed or the limit of connections is reached."""
        super().connection_made(transport)
        self.flow = _Flow(transport, lambda: len(self._pending) > 0)
        if self.client is None:  # of a Unix socket: the app tells connections apart by this
            self.client = ("unix", transport.get_extra_info("socket").fileno())
        uids = self._owner.allowed_uids
        if uids is not None and (uid := peer_uid(transport.get_extra_info("socket"))) not in uids:
            self._refuse(403, f"user {uid} may not use this socket: see `raven serve --allow-uid`")
        elif not self._owner.admit(self):
            self._refuse(503, f"{self._owner.max_requesting:,} connections are open, which is the limit: try again")
        elif self._owner.is_stopped:
            transport.close()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return the buffer to read into."""
        return self._owner.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take a part of a request from the buffer."""
        self.data_received(bytes(memoryview(self._owner.buffer)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        if self._is_refused or self._failure is not None:
            return
        self._received += len(data)
        self._received_at = self.loop.time()
        if self._pending:
            self._pending = memoryview(b"".join((self._pending, data)))
            self.flow.pause_reading()
        elif len(data) <= _SLICE and not self.pipeline:
            self._feed(data)
        else:
            self._pending = memoryview(data)
            self._feed_pending()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for the answers to its requests, although the client writes no more.

        A stream has no end, and is not kept: nearly always the client has gone.
        """
        self._has_ended = True
        return self._has_whole_request() and not self._is_refused and not self._is_stream

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the app that the client has gone, and drop the requests that it has not got."""
        self._owner.forget(self)
        self.pipeline.clear()
        self._pending = memoryview(b"")
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    # Called by the parser

    def on_message_begin(self) -> None:
        """Begin with a request."""
        self._is_in_head = True
        self._head_size = self._head_received = 0
        if not self._is_under_way():
            self._since = self._received_at
            self._received = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target of a request."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of a request. Those after a body count for nothing: the request was judged without them."""
        self._count_head(len(name) + len(value) + len(b": \r\n"))
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand a request to the app, in its turn."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("this is no proxy")
            return  # the head comes again, without the upgrade
        self._is_in_head = False
        self._previous = self.cycle
        if not self.url.startswith(b"/") and b"://" in self.url:  # the host in the target counts: RFC 9112, 3.2.2
            host = self.url.partition(b"://")[2].partition(b"/")[0]
            self.headers[:] = [header for header in self.headers if header[0] != b"host"] + [(b"host", host)]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        if not self._is_in_head:
            super().on_message_complete()

    # Called by uvicorn

    def on_response_complete(self) -> None:
        """Go on with the next request, whose time begins now if a part of it has come."""
        self._running = None
        self._since = self._received_at = self.loop.time()
        self._received = 0
        # Not by uvicorn's method: it sets a timer for each answer, although `tick` ends idle connections, and resumes
        # reading although the next request is here.
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.flow.resume_reading()
        if self._pending:
            self._feed_pending()
        if self._failure is not None and not self._is_under_way():
            self._refuse(*self._failure)
        if self._has_ended and not self._has_whole_request():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that cannot be parsed, after the answers to those before it."""
        if self._head_size > _MAX_HEAD:
            failure = 431, f"the head of the request is over the limit of {_MAX_HEAD:,} bytes: send less"
        else:
            failure = 400, "this is not a request of HTTP/1.1"
        is_under_way = self._is_under_way()
        is_in_body = is_under_way and not self._is_in_head and self.cycle.more_body
        self._is_in_head = False
        if not is_under_way or (is_in_body and not self.pipeline):
            return self._refuse(*failure)
        if is_in_body:
            self.pipeline.popleft()
            self.cycle = self._previous
        self._failure = failure
        return self.flow.pause_reading()

    # Called by the front

    def is_idle(self) -> bool:
        """Whether no request is under way, and no part of one has come."""
        return not self._is_in_head and not self._is_under_way()

    def idle_since(self) -> float:
        """Return since when the connection is idle, in the loop's time; infinity if it is not."""
        return self._since if self.is_idle() else float("inf")

    def tick(self, now: float) -> None:
        """Once a second: end the connection if the client has not gone on in time."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._read_at = now
        self._unsent = unsent
        if unsent and not self._is_under_way():  # the client reads an answer, and is not idle
            self._since = now
        if now - self._read_at > TIMEOUT_S or (self._is_refused and now > self._refused_until):
            self.transport.abort()
        elif self.transport.is_closing() or self._is_refused or self._is_stream:
            return
        elif self._reads_body():
            begun_s, waiting_s = now - self._since, now - self._received_at
            if waiting_s > TIMEOUT_S or begun_s > TIMEOUT_S + self._received / _MIN_BYTES_PER_S:
                self._refuse(408, f"the rest of the body did not come within {TIMEOUT_S:g} s: send the request again")
        elif not self._is_under_way() and now - self._since > TIMEOUT_S:
            if self._is_in_head:
                self._refuse(408, f"the head of the request did not come within {TIMEOUT_S:g} s: send it again")
            else:
                self.transport.close()

    def stop(self) -> None:
        """Close after the answers to the requests under way; at once if there is none."""
        if self._is_refused:
            self.transport.abort()
        elif not self.transport.is_closing():
            self._pending = memoryview(b"")
            self.shutdown()

    def abort(self) -> None:
        """Close at once; unwritten answers are lost."""
        self.transport.abort()

    # Within

    async def _serve(self, scope: Any, receive: Any, send: _Send) -> None:
        """Let the app answer a request."""
        cycle: RequestResponseCycle = receive.__self__
        self._running = cycle
        self._start = None
        if scope["http_version"] < "1.1":
            send = partial(send_unchunked, cycle)
        try:
            await self._owner.app(scope, receive, partial(self._send, cycle, send))
        finally:
            if self._is_stream and not cycle.response_complete:
                # The client does not read. Its unread text is dropped, and uvicorn need not complain.
                cycle.disconnected = True
                self.transport.abort()

    async def _send(self, cycle: RequestResponseCycle, send: _Send, message: Message) -> None:
        """Send a part of an answer, its head together with the first part of the body."""
        start = self._start
        if message["type"] == "http.response.start":
            self._start = message
        elif start is None:
            await send(message)
        else:
            self._start = None
            if message.get("more_body"):
                self._note_stream(start)
            elif write_whole(cycle, start, message.get("body", b"")):
                return
            await send(start)
            await send(message)

    def _note_stream(self, start: Message) -> None:
        """Count the connection as an event stream if this is the head of one."""
        kinds = (value.partition(b";")[0] for name, value in start.get("headers", ()) if name == b"content-type")
        if b"text/event-stream" in kinds:
            self._is_stream = True
            self._owner.count_stream(self)
            if self._running is not None:
                self._running.keep_alive = False

    def _feed(self, data: bytes | memoryview) -> None:
        """Give data to the parser; refuse a head that is too long, although a part of it is still to come."""
        rest: bytes | memoryview = data
        while rest:
            try:
                self.parser.feed_data(rest)
                break
            except HttpParserUpgrade as upgrade:
                rest = self._head_without_upgrade() + rest[upgrade.args[0] :]
            except HttpParserError:
                self.send_400_response("")
                break
        if self._is_in_head:
            self._head_received += len(data)
            if self._head_received > _MAX_HEAD + _SLICE:
                self._head_size = self._head_received
                self.send_400_response("")

    def _head_without_upgrade(self) -> bytes:
        """Return the head of a request without its wish for another protocol, for which the parser drops the body."""
        line = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        return line + b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade") + b"\r\n"

    def _feed_pending(self) -> None:
        while self._pending and not self.pipeline and self._failure is None and not self.transport.is_closing():
            data, self._pending = self._pending[:_SLICE], self._pending[_SLICE:]
            self._feed(data)
        if self._pending:
            self.flow.pause_reading()
        elif not self.pipeline:
            self.flow.resume_reading()

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > _MAX_HEAD:
            raise ValueError("the head is too long")

    def _is_under_way(self) -> bool:
        """Whether the app has a request, or will get one whose head has come."""
        return self.cycle is not None and not self.cycle.response_complete

    def _has_whole_request(self) -> bool:
        """Drop a last request whose rest will not come, and return whether others are under way."""
        if self.pipeline and not self._is_in_head and self.cycle.more_body and not self._pending:
            self.pipeline.popleft()
            self.cycle = self._previous
        self._is_in_head = False
        return self._is_under_way() and not self.cycle.more_body

    def _reads_body(self) -> bool:
        """Whether the app has a request whose body is to come, and the client may send it."""
        running = self._running
        return running is not None and running is self.cycle and running.more_body and not self.flow.read_paused

    def _refuse(self, status: int, detail: str) -> None:
        """Answer with an error instead of the app, if it has not begun to; read no more of the client, and close."""
        if self._is_under_way():
            if self.cycle.response_started:
                return self.transport.abort()
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._is_refused = True
        self._pending = memoryview(b"")
        self._refused_until = self.loop.time() + _REFUSED_S
        self._write(status, detail)
        # If the connection were closed at once, unread data would make the system reset it, and drop the answer.
        if self._owner.linger(self):
            with suppress(OSError):  # the client has gone
                self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()
        return None

    def _write(self, status: int, detail: str) -> None:
        body = error_line(KINDS[status], detail)
        headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", b"1"))
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        phrase = HTTPStatus(status).phrase.encode("ascii")
        self.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, phrase, head, body))
