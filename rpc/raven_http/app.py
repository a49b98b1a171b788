"""App: the HTTP bridge over a Host, and a program for other programs to mount."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from raven.errors import RavenError
from raven.host.host import Host
from raven.host.limits import ServerLimits, check_number
from raven.host.service import Service
from raven.model.address import parse_address
from raven_http.api import query, status
from raven_http.api.calls import Calls
from raven_http.api.endpoint import respond
from raven_http.api.routing import JsonRoute, Routing
from raven_http.api.table import ROUTES
from raven_http.events.hub import Hub
from raven_http.events.stream import EventsEndpoint
from raven_http.guard.authority import LOOPBACK
from raven_http.guard.guard import App, Guard
from raven_http.page.page import page_files
from raven_rpc.jsonrpc.messages import MAX_REQUEST

MAX_STREAMS = 256
_log = logging.getLogger("raven.http")


def check_sizes(max_request: int, max_streams: int) -> None:
    """Raise ConfigError unless both are numbers that a bridge can go by."""
    check_number("max_request", max_request)
    check_number("max_streams", max_streams, 0)


def guarded(
    app: App,
    *,
    token: str | None = None,
    read_only: bool = False,
    allowed_hosts: Iterable[str] = LOOPBACK,
    max_request: int = MAX_REQUEST,
) -> Guard:
    """Return the app of a Bridge behind the checks of the guard; raises ConfigError for a bad token or host."""
    posts = {route.path[1:].partition("/")[0] for route in ROUTES if route.is_write}
    return Guard(
        app, allowed_hosts=allowed_hosts, token=token, max_body_bytes=max_request, read_only=read_only, posts=posts
    )


class Bridge:
    """The routes, the events and the page over one Host, as the ASGI program `app`, which `guarded` must guard.

    The program that owns the Host calls `start` after it has started the Host, then `tick` once a second and
    `on_batch_done` after each batch of its threads; at the end `stop`, before it ends the Host. With `read_only` it
    tells the viewers so; the guard refuses the writes.
    """

    def __init__(
        self,
        host: Host,
        *,
        bound: Sequence[str] = (),
        read_only: bool = False,
        max_request: int = MAX_REQUEST,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        self.max_streams = max_streams
        self.loop: asyncio.AbstractEventLoop | None = None
        self.calls = Calls(host, bound, max_request)
        self.events = Hub(host, bound, read_only=read_only, max_viewers=max_streams)
        self.calls.count_streams = lambda: len(self.events)
        others = [
            JsonRoute("/events", EventsEndpoint(self.events, query.of, _refuse), methods=["GET"]),
            *(JsonRoute(path, file, methods=["GET"]) for path, file in page_files().items()),
        ]
        self.app = Routing(self.calls, others)

    def start(self) -> None:
        """Begin to serve; on the event loop."""
        self.loop = asyncio.get_running_loop()

    def tick(self, changed: bool) -> None:
        """Note that a second has passed; `changed` if the bus file has changed since the last tick."""
        self.events.tick(changed)

    def on_batch_done(self) -> None:
        """Note that the threads of the Host have finished a batch of work."""
        self.events.poke()

    def stop(self) -> None:
        """End the event streams; later requests are refused, as the Host stops."""
        self.events.stop()


async def _refuse(send: Send, error: RavenError) -> None:
    """Answer a request with an error, on behalf of no route of the table."""
    await respond(send, status.of_error(error, is_write=False))


def _is_server_stopping() -> bool:
    """Whether the server of this process has got SIGTERM or Ctrl-C, if it is uvicorn.

    It then waits for open connections before it ends the lifespan, and tells the app nothing meanwhile.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True


class _MountedFront:
    """The bridge as the front of a Service whose clients connect to the sockets of another program."""

    lazy_modules: Sequence[str] = ()

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self.max_connections = bridge.max_streams
        self.on_batch_done = bridge.on_batch_done
        self.stop = bridge.stop

    def bind(self) -> None:
        """Do nothing: the other program has the sockets."""

    async def start(self) -> None:
        """Begin to serve."""
        self._bridge.start()

    def has_no_fifo(self) -> bool:
        """Return False: no request waits at a doorbell of its own."""
        return False

    def tick(self, changed: bool) -> None:
        """Tick the bridge; end the event streams, which would keep a stopping server from its end."""
        if _is_server_stopping():
            self._bridge.stop()
        self._bridge.tick(changed)

    async def drain(self, timeout_s: float) -> None:
        """Do nothing: the other program waits for its connections."""


class _Program:
    """The bridge in a Service of its own, which starts with the lifespan or, without one, with the first good request.

    A program that runs a second event loop after the first gets a second Service.
    """

    def __init__(self, db_path: str | None, bridge_options: dict[str, Any], settings: dict[str, Any]) -> None:
        self._db_path = db_path
        self._bridge_options = bridge_options
        self._settings = settings
        self._service: Service | None = None
        self._bridge: Bridge | None = None
        self._starting: asyncio.Task[Bridge] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        bridge = self._bridge
        if bridge is None or bridge.loop is not asyncio.get_running_loop():
            try:
                bridge = await self.start()
            except RavenError as error:
                _log.error("%s", error)
                return await _refuse(send, error)
        return await bridge.app(scope, receive, send)

    async def start(self) -> Bridge:
        """Open the bus and start its threads, unless another task has begun to; raises a DatabaseError."""
        loop = asyncio.get_running_loop()
        if self._starting is None or self._starting.get_loop() is not loop:
            self._starting = loop.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> Bridge:
        try:
            await self._end_service()
            service = Service(self._db_path, bound=self._bridge_options["bound"], **self._settings)
            bridge = Bridge(service.host, **self._bridge_options)
            service.fronts.append(_MountedFront(bridge))
            await service.start()
        except BaseException:
            self._starting = None  # the next request tries again
            raise
        self._service, self._bridge = service, bridge
        return bridge

    async def end(self) -> None:
        """End the event streams and the threads, and close the bus."""
        self._starting = self._bridge = None
        await self._end_service()

    async def _end_service(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            await service.end()


def create_app(
    db_path: str | None = None,
    *,
    bound: Sequence[str] = (),
    token: str | None = None,
    read_only: bool = False,
    allowed_hosts: Sequence[str] | None = None,
    max_request: int = MAX_REQUEST,
    max_streams: int = MAX_STREAMS,
    **settings: Any,
) -> Starlette:
    """Return the bridge of a bus as a program of its own: run it with an ASGI server, or mount it in another program.

    `db_path` and the further settings are BusClient's. `bound` are the addresses that requests may act as; if it is
    empty, they may act as any. `token` is the secret that each request must show, None for none. `read_only` refuses
    every write. `allowed_hosts` are the values of `Host` that are served, with their port; None for those of loopback.
    A request may have `max_request` bytes.

    Its lifespan opens the bus and closes it. A program that mounts it should enter `app.router.lifespan_context(app)`
    in its own lifespan; otherwise the first request opens the bus, and the end of the process closes it. Event streams
    end when uvicorn gets SIGTERM or Ctrl-C; give another server a time limit for open connections.

    Raises AddressError for a bad address of `bound`, and ConfigError for a bad token, host, size or limit.
    """
    for address in bound:
        parse_address(address)
    check_sizes(max_request, max_streams)
    ServerLimits.of(settings.get("limits") or {}, bound=bool(bound))
    bridge = {
        "bound": tuple(dict.fromkeys(bound)),
        "read_only": read_only,
        "max_request": max_request,
        "max_streams": max_streams,
    }
    program = _Program(db_path, bridge, settings)
    hosts = LOOPBACK if allowed_hosts is None else allowed_hosts
    guard = guarded(program, token=token, read_only=read_only, allowed_hosts=hosts, max_request=max_request)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await program.start()
        try:
            yield
        finally:
            await program.end()

    return Starlette(routes=[Mount("/", app=guard)], lifespan=lifespan)
