"""Server: one process that serves a bus on a Unix socket, from its start to its end."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from typing import Any

from raven.host.host import Host
from raven.host.limits import ServerLimits, descriptors_for, quota_for
from raven.model.address import parse_address
from raven.model.version import __version__
from raven_rpc.jsonrpc import messages, unix_socket
from raven_rpc.methods.table import METHODS
from raven_rpc.server.connection import Connection
from raven_rpc.server.dispatch import Dispatcher
from raven_rpc.server.memory import Answers, LongLines
from raven_rpc.server.rates import Rates

MAX_CONNECTIONS = 1000
_TICK_S = 1.0
_FALLBACK_POLL_S = 0.1
_DRAIN_S = 10.0
_LOG_INTERVAL_S = 60.0
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_READ_SIZE = 64 * 1024
_ACCEPTED_AT_ONCE = 64
# Modules that are imported only when they are used, and here before the server runs. A later import would fail if all
# descriptors were in use, and would load another version if one was installed meanwhile.
_LAZY_MODULES = (
    "raven.delivery.dead_letters",
    "raven.store.atomic",
    "raven.query.peers",
    "raven.delivery.retention",
    "raven.query.stats",
    "raven_rpc.methods.openrpc",
)
_log = logging.getLogger("raven")


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
        for address in bound:
            parse_address(address)
        self.bound = tuple(dict.fromkeys(bound))
        self.limits = ServerLimits.of(limits or {}, bound=bool(self.bound))
        self.host = Host(db_path, group_commit=group_commit, retention=retention, limits=self.limits, **settings)
        self.allowed_uids = frozenset({os.geteuid(), *allowed_uids})
        self.max_request = max_request
        self.max_connections = max_connections
        self.dispatcher = Dispatcher(METHODS)
        self.completed: set[Connection] = set()
        self.buffer = bytearray(_READ_SIZE)
        self.answers = Answers(self.limits)
        self.long_lines = LongLines(self.limits, max_request)
        has_rates = self.limits.requests_per_s or self.limits.deliveries_per_s or self.limits.bytes_per_s
        self.rates = Rates(self.limits, self.host.admission) if has_rates else None
        self._others = self.allowed_uids != {os.geteuid()}
        self._socket_path = socket_path
        self._connections: set[Connection] = set()
        self._started_at = time.monotonic()

    async def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Serve until `stop` is called; `ready` gets the socket's path once clients can connect. Raises BindError."""
        self.loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._emptied = asyncio.Event()
        for name in _LAZY_MODULES:
            import_module(name)
        self.host.load_quota(self.bound)
        listening = self._bind_socket()
        allowed = _allow_descriptors(descriptors_for(self.max_connections))
        self.host.start(self.loop, quota_for(allowed, self.max_connections), self._write_responses)
        # `remove` below unlinks the socket only if it is this server's; Python 3.13 and later would always unlink it.
        options: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        server = await self.loop.create_unix_server(
            lambda: Connection(self), sock=listening.socket, backlog=_ACCEPTED_AT_ONCE, **options
        )
        # asyncio accepts up to `backlog` clients before it serves the accepted ones; the queue may be longer.
        listening.socket.listen(unix_socket.BACKLOG)
        self._ticker = self.loop.call_later(_TICK_S, self._tick)
        try:
            if ready is not None:
                ready(listening.path)
            await self._stopped.wait()
        finally:
            listening.remove()
            server.close()
            self._ticker.cancel()
            await self._drain()

    def _bind_socket(self) -> unix_socket.ListeningSocket | unix_socket.InheritedSocket:
        try:
            if unix_socket.is_inherited() and self._socket_path is None:
                return unix_socket.InheritedSocket()
            path = self._socket_path or f"{self.host.db_path}.sock"
            return unix_socket.ListeningSocket(path, others=self._others)
        except BaseException:
            self.host.close()
            raise

    def stop(self) -> None:
        """Stop: accept no client, respond to all requests, release all leases, and let `run` return."""
        self.host.is_stopping = True
        self._stopped.set()

    async def _drain(self) -> None:
        for connection in list(self._connections):
            connection.stop()
        if self._connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), _DRAIN_S)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)
        if not await self.host.end(_DRAIN_S):
            _log.warning("the bus was busy for too long: leased messages are delivered again when their leases end")

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
        """Return counters since the start of the server, and the numbers of waiting requests."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started_at, 3),
            "connections": len(self._connections),
            "subscriptions": sum(len(connection.subscriptions) for connection in self._connections),
            "requests": self.dispatcher.requests,
            "errors": self.dispatcher.errors,
            "pushed": self.host.pushed,
            "unacked": len(self.host.unacked),
            "waits": sum(len(connection.deferred) for connection in self._connections),
            "commits": self.host.writer.commits,
            "waiting_writes": self.host.writer.pending(),
            "waiting_reads": self.host.reader.pending(),
            "waiting_upkeep": self.host.admin.pending(),
        }

    def _write_responses(self) -> None:
        """Let the connections write the responses that have become complete."""
        completed = self.completed.copy()
        self.completed.clear()
        for connection in completed:
            connection.process_input()

    # The tick

    def _tick(self) -> None:
        has_no_fifo = any(connection.has_no_fifo() for connection in self._connections)
        self._ticker = self.loop.call_later(_FALLBACK_POLL_S if has_no_fifo else _TICK_S, self._tick)
        self.host.tick(self._tick_connections)

    def _tick_connections(self, changed: bool) -> None:
        """Tick every connection; `changed` tells whether the bus file has changed since the last tick."""
        self.long_lines.tick()
        for connection in list(self._connections):
            connection.tick(changed)


class FdExhaustionLogger:
    """An exception handler for the server's event loop (loop.set_exception_handler) that reports a lack of descriptors.

    If no descriptor is left for another client, asyncio stops accepting for a second, then tries again: the waiting
    client is then accepted. The log gets one line about that per minute.
    """

    def __init__(self) -> None:
        self._logged_at = -_LOG_INTERVAL_S

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log a lack of descriptors; pass any other context to asyncio's default handler."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            if time.monotonic() - self._logged_at >= _LOG_INTERVAL_S:
                self._logged_at = time.monotonic()
                _log.warning(
                    "no descriptor is left for another client, which waits: raise the limit (`ulimit -n`), or lower "
                    "--max-connections"
                )
        # After its pause asyncio accepts again, and raises this ValueError if the server has stopped meanwhile.
        elif not (isinstance(error, ValueError) and "_start_serving" in str(context.get("handle"))):
            loop.default_exception_handler(context)


def serve(
    db_path: str | None = None,
    socket_path: str | None = None,
    *,
    ready: Callable[[str], None] | None = None,
    **options: Any,
) -> None:
    """Serve a bus until SIGTERM or SIGINT; takes Server's options. A second signal ends the process at once."""
    _return_memory()
    # The objects of imported modules live as long as the process: exclude them from garbage collection.
    gc.freeze()

    async def run() -> None:
        server = Server(db_path, socket_path, **options)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(FdExhaustionLogger())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, loop, server)
        await server.run(ready)

    asyncio.run(run())


def _return_memory() -> None:
    """Let freed long texts go back to the system at once, where malloc has such options: mallopt(3) of glibc."""
    with suppress(OSError, AttributeError):
        import ctypes

        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 256 * 1024)
        libc.mallopt(_M_ARENA_MAX, 2)


def _stop(loop: asyncio.AbstractEventLoop, server: Server) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    server.stop()


def _allow_descriptors(count: int) -> float:
    """Raise this process's limit on open descriptors to `count`, or to the hard limit; returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft == resource.RLIM_INFINITY:
        return math.inf
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return soft
