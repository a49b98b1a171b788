"""App: the HTTP bridge over a Host, and a program for other programs to mount."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from raven.host.host import Host
from raven.host.limits import wanted_quota
from raven.model.address import parse_address
from raven_http.api.calls import Calls
from raven_http.api.routing import make_router

MAX_STREAMS = 256
_TICK_S = 1.0
_END_S = 10.0


class Bridge:
    """The routes, the events and the page over one Host, as the ASGI program `app`.

    The program that owns the Host calls `start` after it has started the Host, then `tick` once a second and
    `on_batch_done` after each batch of its threads; at the end `stop`, before it ends the Host.
    """

    def __init__(
        self,
        host: Host,
        *,
        bound: Sequence[str] = (),
        token: str | None = None,
        read_only: bool = False,
        allowed_hosts: Sequence[str] | None = None,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        self.calls = Calls(host, bound)
        self.app: ASGIApp = make_router(self.calls)

    def start(self) -> None:
        """Begin to serve; on the event loop."""

    def tick(self, changed: bool) -> None:
        """Note that a second has passed; `changed` if the bus file has changed since the last tick."""

    def on_batch_done(self) -> None:
        """Note that the threads of the Host have finished a batch of work."""

    def stop(self) -> None:
        """End the event streams; later requests are refused, as the Host stops."""


class _Program:
    """A Host and a Bridge that live as long as the program which mounts them, or as its lifespan.

    A program that runs no lifespan of mounted programs gets both with its first request.
    """

    def __init__(self, db_path: str | None, bridge: dict[str, Any], settings: dict[str, Any]) -> None:
        self._db_path = db_path
        self._bridge_options = bridge
        self._settings = settings
        self._host: Host | None = None
        self._bridge: Bridge | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticker: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._started()(scope, receive, send)

    def start(self) -> None:
        """Open the bus, and start the threads on the running event loop."""
        self._started()

    async def end(self) -> None:
        """End the event streams and the threads, and close the bus."""
        host, bridge = self._host, self._bridge
        self._host = self._bridge = None
        if host is None or bridge is None:
            return
        host.is_stopping = True
        bridge.stop()
        if self._ticker is not None:
            self._ticker.cancel()
        await host.end(_END_S)

    def _started(self) -> ASGIApp:
        loop = asyncio.get_running_loop()
        if self._bridge is None or self._loop is not loop:
            host = self._host = Host(self._db_path, **self._settings)
            bridge = self._bridge = Bridge(host, **self._bridge_options)
            self._loop = loop
            host.start(loop, wanted_quota(0), bridge.on_batch_done)
            bridge.start()
            self._ticker = loop.call_later(_TICK_S, self._tick, host, bridge)
        return self._bridge.app

    def _tick(self, host: Host, bridge: Bridge) -> None:
        self._ticker = host.loop.call_later(_TICK_S, self._tick, host, bridge)
        host.tick(bridge.tick)


def create_app(
    db_path: str | None = None,
    *,
    bound: Sequence[str] = (),
    token: str | None = None,
    read_only: bool = False,
    allowed_hosts: Sequence[str] | None = None,
    max_streams: int = MAX_STREAMS,
    **settings: Any,
) -> Starlette:
    """Return the bridge of a bus as a program of its own: run it with an ASGI server, or mount it in another program.

    `db_path` and the further settings are BusClient's. `bound` are the addresses that requests may act as; if it is
    empty, they may act as any. `token` is the secret that each request must show, None for none. `read_only` refuses
    every write. `allowed_hosts` are the values of `Host` that are served, with their port; None for those of loopback.

    Its lifespan opens the bus and closes it. A program that mounts it should enter `app.router.lifespan_context(app)`
    in its own lifespan; otherwise the first request opens the bus, and the end of the process closes it.
    """
    for address in bound:
        parse_address(address)
    bridge = {
        "bound": tuple(dict.fromkeys(bound)),
        "token": token,
        "read_only": read_only,
        "allowed_hosts": allowed_hosts,
        "max_streams": max_streams,
    }
    program = _Program(db_path, bridge, settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        program.start()
        try:
            yield
        finally:
            await program.end()

    return Starlette(routes=[Mount("/", app=program)], lifespan=lifespan)
