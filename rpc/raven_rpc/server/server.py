"""Server: one process that serves a bus on a Unix socket, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raven.host.service import Service, run_until_signal
from raven_rpc.jsonrpc import messages
from raven_rpc.server.front import MAX_CONNECTIONS, SocketFront


class Server:
    """Serves one bus at one socket until it is stopped.

    The event loop reads, dispatches and writes; SQLite is used in the threads of the Host. `bound` are the addresses
    that clients may act as; if it is empty, they may act as any address. `limits` are ServerLimits by their names.
    """

    def __init__(
        self,
        db_path: str | None = None,
        socket_path: str | None = None,
        *,
        bound: Sequence[str] = (),
        allowed_uids: Sequence[int] = (),
        max_request: int = messages.MAX_REQUEST,
        max_connections: int = MAX_CONNECTIONS,
        group_commit: bool = True,
        retention: Any = None,
        limits: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> None:
        self.service = Service(
            db_path, bound=bound, group_commit=group_commit, retention=retention, limits=limits, **settings
        )
        self.front = SocketFront(
            self.service,
            socket_path,
            allowed_uids=allowed_uids,
            max_request=max_request,
            max_connections=max_connections,
        )
        self.service.fronts.append(self.front)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of `run`."""
        return self.service.loop

    async def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Serve until `stop` is called; `ready` gets the socket's path once clients can connect. Raises BindError."""
        await self.service.run(None if ready is None else lambda: ready(self.front.address))

    def stop(self) -> None:
        """Stop: accept no client, respond to all requests, release all leases, and let `run` return."""
        self.service.stop()

    def stats(self) -> dict[str, Any]:
        """Return counters since the start of the server, and the numbers of waiting requests."""
        return self.front.stats()


def serve(
    db_path: str | None = None,
    socket_path: str | None = None,
    *,
    ready: Callable[[str], None] | None = None,
    **options: Any,
) -> None:
    """Serve a bus until SIGTERM or SIGINT; takes Server's options. A second signal ends the process at once."""
    server = Server(db_path, socket_path, **options)
    run_until_signal(server.service, None if ready is None else lambda: ready(server.front.address))
