"""HttpFront: the listening socket of the bridge of a service, and the connections of its clients."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from raven.host.limits import check_number
from raven.host.service import Service, run_until_signal
from raven_http.app import MAX_STREAMS, Bridge, check_sizes, guarded
from raven_http.guard.authority import LOOPBACK
from raven_http.guard.token import SUFFIX, read_token, token_of
from raven_http.server.binding import Listening, Target, listen
from raven_http.server.connection import Connection
from raven_rpc.jsonrpc.messages import MAX_REQUEST
from raven_rpc.jsonrpc.unix_socket import BACKLOG

MAX_CONNECTIONS = 64
_ACCEPTED_AT_ONCE = 64
_MAX_LINGERING = 64
_READ_SIZE = 64 * 1024
# At the limit, a connection that has been idle for so long makes room for a new one.
_IDLE_S = 1.0
_DRAIN_S = 5.0
_CANCEL_S = 1.0


class HttpFront:
    """Serves the bus of a service over HTTP, with the live page, at a TCP port or a Unix socket.

    At a TCP port each request must show the token of `token_file`, else that of the file beside the bus; with
    `use_token=False` none. Another address than one of loopback needs a `token_file`. At a Unix socket only processes
    of this user and of `allowed_uids` can connect, and a token is asked for only if there is a `token_file`.
    `allowed_hosts` are further names by which clients may address the server.
    """

    lazy_modules: Sequence[str] = ()

    def __init__(
        self,
        service: Service,
        target: Target,
        *,
        token_file: str | None = None,
        use_token: bool = True,
        read_only: bool = False,
        allowed_hosts: Sequence[str] = (),
        allowed_uids: Sequence[int] = (),
        max_request: int = MAX_REQUEST,
        max_connections: int = MAX_CONNECTIONS,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        target.check_exposure(has_token_file=token_file is not None)
        check_number("max_connections", max_connections)
        check_sizes(max_request, max_streams)
        self.allowed_uids = None if target.path is None else frozenset({os.geteuid(), *allowed_uids})
        self.max_requesting = max_connections
        self.max_connections = max_connections + max_streams + _MAX_LINGERING
        self.buffer = bytearray(_READ_SIZE)
        self.is_stopped = False
        self.state = ServerState()
        self._target = target
        self._use_token = token_file is not None or (use_token and target.path is None)
        self._token_file = token_file
        self._token: str | None = None
        self.token_path: str | None = None  # the file of the token that clients must show, after `bind`
        names = tuple(dict.fromkeys((*LOOPBACK, *target.names, *allowed_hosts)))
        self._guarded = partial(guarded, read_only=read_only, allowed_hosts=names, max_request=max_request)
        self._bridge = Bridge(
            service.host,
            bound=service.bound,
            read_only=read_only,
            max_request=max_request,
            max_streams=max_streams,
        )
        self._service = service
        self._server: asyncio.Server | None = None
        self._requesting: set[Connection] = set()
        self._streams: set[Connection] = set()
        self._lingering: set[Connection] = set()
        self._emptied = asyncio.Event()

    @property
    def page(self) -> str:
        """The address that opens the page in a browser, with the token if there is one. After `bind`."""
        return self.address if self._token is None else f"{self.address}?token={quote(self._token, safe='')}"

    def page_once(self) -> str:
        """Return an address that opens the page once, within two minutes, for the arguments of a browser's process."""
        code = self._guard.make_code()
        return self.address if code is None else f"{self.address}?token={code}"

    # Called by the service

    def bind(self) -> None:
        """Take the socket; raises BindError, or ConfigError if the file of the token cannot be used."""
        if self._use_token:
            db_path, path = self._service.host.db_path, self._token_file
            self._token = token_of(db_path) if path is None else read_token(path)
            self.token_path = f"{db_path}{SUFFIX}" if path is None else path
        self._bridge.calls.count_connections = lambda: len(self._requesting) + len(self._streams)
        self._guard = self._guarded(self._bridge.app, token=self._token)
        self.app: Callable[..., Awaitable[None]] = self._guard
        self.config = Config(
            self.app,
            http=HttpToolsProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
        )
        self.config.load()
        self._listening: Listening = listen(self._target, others=len(self.allowed_uids or ()) > 1)
        self._target = self._listening.target
        # Where clients reach the server: a URL, or unix:PATH.
        self.address = self._target.name if self._target.path is not None else f"http://{self._target.name}/"
        if not self._target.is_loopback:
            logging.getLogger("raven").warning(
                "other machines can reach the bus at %s, and the network between can read its mail and the token: "
                "prefer 127.0.0.1 and a tunnel, such as `ssh -L`",
                self.address,
            )

    async def start(self) -> None:
        """Accept clients."""
        self._bridge.start()
        loop = asyncio.get_running_loop()
        listening = self._listening.socket
        self._server = await loop.create_server(
            lambda: Connection(self, loop), sock=listening, backlog=_ACCEPTED_AT_ONCE
        )
        # asyncio accepts up to `backlog` clients before it serves the accepted ones; the queue may be longer.
        listening.listen(BACKLOG)

    def on_batch_done(self) -> None:
        """Note that the threads of the Host have finished a batch of work."""
        self._bridge.on_batch_done()

    def has_no_fifo(self) -> bool:
        """Return False: the bridge has no doorbells besides its observer's."""
        return False

    def tick(self, changed: bool) -> None:
        """Tick the bridge, and end the connections that take too long."""
        self._bridge.tick(changed)
        now = asyncio.get_running_loop().time()
        for connection in self._all():
            connection.tick(now)

    def stop(self) -> None:
        """Give the socket up, end the event streams, and close each connection after its requests."""
        self.is_stopped = True  # for a client that asyncio has accepted, and not yet told of
        if "_listening" in vars(self):
            self._listening.remove()
            self._listening.socket.close() if self._server is None else self._server.close()
        if self._server is not None:
            self._bridge.stop()
        for connection in self._all():
            connection.stop()

    async def drain(self, timeout_s: float) -> None:
        """Return when all connections have ended; abort the others after `timeout_s`, or after 5 s."""
        self._emptied.clear()
        if self._all():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), min(timeout_s, _DRAIN_S))
        for connection in self._all():
            connection.abort()
        tasks = list(self.state.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_S)
            for task in tasks:
                task.cancel()

    # Called by connections

    def admit(self, connection: Connection) -> bool:
        """Count a connection in, for which the longest idle one may have to go; returns False at the limit."""
        if len(self._requesting) >= self.max_requesting:
            idle = min(self._requesting, key=Connection.idle_since)
            if idle.idle_since() > connection.loop.time() - _IDLE_S:
                return False
            self._requesting.remove(idle)
            self._lingering.add(idle)  # until its client has read the last answer, or has not in time
            idle.transport.close()
        self._requesting.add(connection)
        return True

    def linger(self, connection: Connection) -> bool:
        """Keep a refused connection for a moment; returns False if many are kept already."""
        self._requesting.discard(connection)
        if len(self._lingering) >= _MAX_LINGERING:
            return False
        self._lingering.add(connection)
        return True

    def count_stream(self, connection: Connection) -> None:
        """Count a connection among the event streams, whose number the bridge limits."""
        self._requesting.discard(connection)
        self._streams.add(connection)

    def forget(self, connection: Connection) -> None:
        """Count a connection out."""
        for kind in (self._requesting, self._streams, self._lingering):
            kind.discard(connection)
        if not self._all():
            self._emptied.set()

    def _all(self) -> list[Connection]:
        return [*self._requesting, *self._streams, *self._lingering]


def serve(
    db_path: str | None = None,
    address: str = Target().name,
    *,
    ready: Callable[[str], None] | None = None,
    token_file: str | None = None,
    use_token: bool = True,
    read_only: bool = False,
    allowed_hosts: Sequence[str] = (),
    max_request: int = MAX_REQUEST,
    max_connections: int = MAX_CONNECTIONS,
    max_streams: int = MAX_STREAMS,
    **options: Any,
) -> None:
    """Serve a bus over HTTP until SIGTERM or SIGINT. A second signal ends the process at once.

    `address` is HOST:PORT, with port 0 for any free one, or unix:PATH; `ready` gets the URL once clients can connect.
    Each request must show the token of `token_file`, else of the file `<db>.http-token`, which is made if it is
    missing; with `use_token=False`, and at a Unix socket, none. `read_only` refuses every write. `allowed_hosts` are
    further names by which clients may address the server. A request may have `max_request` bytes. The other `options`,
    such as `bound`, `retention` and `limits`, are the settings of the bus, as for Server of `raven_rpc`. Raises
    BindError and ConfigError.
    """
    target = Target.parse(address)
    target.check_exposure(has_token_file=token_file is not None)
    service = Service(db_path, **options)
    front = HttpFront(
        service,
        target,
        token_file=token_file,
        use_token=use_token,
        read_only=read_only,
        allowed_hosts=allowed_hosts,
        max_request=max_request,
        max_connections=max_connections,
        max_streams=max_streams,
    )
    service.fronts.append(front)
    run_until_signal(service, None if ready is None else lambda: ready(front.address))
