"""SocketFront: the Unix socket of a service, and the connections of its clients."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from raven.host.limits import check_number
from raven.host.service import Service
from raven_rpc.jsonrpc import messages, unix_socket
from raven_rpc.methods.table import METHODS
from raven_rpc.server.connection import Connection
from raven_rpc.server.dispatch import Dispatcher

MAX_CONNECTIONS = 1000
_READ_SIZE = 64 * 1024
_ACCEPTED_AT_ONCE = 64


class SocketFront:
    """Serves the bus of a service over JSON-RPC, at the socket that systemd has passed, or at a path.

    The path is `socket_path`, else that of the bus file with `.sock`. Only processes of this user and of
    `allowed_uids` can connect.
    """

    lazy_modules: Sequence[str] = ("raven_rpc.methods.openrpc",)

    def __init__(
        self,
        service: Service,
        socket_path: str | None = None,
        *,
        allowed_uids: Sequence[int] = (),
        max_request: int = messages.MAX_REQUEST,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        check_number("max_request", max_request)
        check_number("max_connections", max_connections)
        self.host = service.host
        self.bound = service.bound
        self.allowed_uids = frozenset({os.geteuid(), *allowed_uids})
        self.max_request = max_request
        self.max_connections = max_connections
        self.dispatcher = Dispatcher(METHODS)
        self.completed: set[Connection] = set()
        self.buffer = bytearray(_READ_SIZE)
        self.answers = self.host.answers
        self.rates = self.host.rates
        self._others = self.allowed_uids != {os.geteuid()}
        self._socket_path = socket_path
        self._server: asyncio.Server | None = None
        self._emptied = asyncio.Event()
        self._connections: set[Connection] = set()

    # Called by the service

    def bind(self) -> None:
        """Take the socket; raises BindError."""
        self._listening: unix_socket.ListeningSocket | unix_socket.InheritedSocket
        if unix_socket.is_inherited() and self._socket_path is None:
            self._listening = unix_socket.InheritedSocket()
        else:
            path = self._socket_path or f"{self.host.db_path}.sock"
            self._listening = unix_socket.ListeningSocket(path, others=self._others)
        self.address = self._listening.path

    async def start(self) -> None:
        """Accept clients."""
        listening = self._listening.socket
        # `remove` below unlinks the socket only if it is this server's; Python 3.13 and later would always unlink it.
        options: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        self._server = await self.host.loop.create_unix_server(
            lambda: Connection(self), sock=listening, backlog=_ACCEPTED_AT_ONCE, **options
        )
        # asyncio accepts up to `backlog` clients before it serves the accepted ones; the queue may be longer.
        listening.listen(unix_socket.BACKLOG)

    def on_batch_done(self) -> None:
        """Let the connections write the responses that have become complete."""
        completed = self.completed.copy()
        self.completed.clear()
        for connection in completed:
            connection.process_input()

    def has_no_fifo(self) -> bool:
        """Whether a poller of a connection has no doorbell, and must poll more often."""
        return any(connection.has_no_fifo() for connection in self._connections)

    def tick(self, changed: bool) -> None:
        """Tick every connection; `changed` tells whether the bus file has changed since the last tick."""
        for connection in list(self._connections):
            connection.tick(changed)

    def stop(self) -> None:
        """Give the socket up, and close each connection after the responses to its requests."""
        if "_listening" in vars(self):
            self._listening.remove()
            self._listening.socket.close() if self._server is None else self._server.close()
        for connection in list(self._connections):
            connection.stop()

    async def drain(self, timeout_s: float) -> None:
        """Return when all connections have ended; abort those that have not after `timeout_s`."""
        if self._connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), timeout_s)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)

    # Called by connections

    def admit(self, connection: Connection) -> bool:
        """Count a connection in; returns False at the limit."""
        if len(self._connections) >= self.max_connections:
            return False
        self._connections.add(connection)
        self._emptied.clear()
        return True

    def forget(self, connection: Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        if not self._connections:
            self._emptied.set()

    @cached_property
    def description(self) -> dict[str, Any]:
        """The OpenRPC document of all methods."""
        from raven_rpc.methods.openrpc import document

        return document(METHODS)

    def stats(self) -> dict[str, Any]:
        """Return counters since the start of the service, and the numbers of waiting requests."""
        return {
            **self.host.counters(),
            "connections": len(self._connections),
            "subscriptions": sum(len(connection.subscriptions) for connection in self._connections),
            "requests": self.dispatcher.requests,
            "errors": self.dispatcher.errors,
            "waits": sum(len(connection.deferred) for connection in self._connections),
        }
