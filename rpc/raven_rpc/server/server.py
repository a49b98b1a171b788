"""Server: the helper itself, from its socket to its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import raven
from raven import BusClient, ClosedError, parse_address
from raven_rpc.jsonrpc import messages as protocol
from raven_rpc.jsonrpc import unix_socket as sockets
from raven_rpc.methods.table import METHODS
from raven_rpc.server import limits as places
from raven_rpc.server.connection import Connection
from raven_rpc.server.dispatch import Dispatcher, Reply
from raven_rpc.server.shortage import Shortage
from raven_rpc.server.worker import Done, Lane, Outcome, Work, Worker, Writer

if TYPE_CHECKING:
    from raven_rpc.methods.caller import Caller
    from raven_rpc.server.pushers import MailPusher

MAX_CONNECTIONS = 1000
# The helper's own name; it never sends, nor is it registered.
_OWN_ADDRESS = "raven:serve"
_TICK_S = 1.0
_DEAF_TICK_S = 0.1
_DRAIN_S = 10.0
# For so long of each tick, at most, it drops what is beyond the limits of retention.
_UPKEEP_S = 0.05
_MAX_SHARED = 10_000
_ACCEPTED_AT_ONCE = 64
# What else is imported only where it is needed. A helper that runs could not where its descriptors are used up, and
# would get that of another version where one was installed meanwhile.
_NEEDED_LATER = (
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

    The event loop reads, dispatches and writes; SQLite is used in threads, each with a connection of its own: one that
    writes, one that reads, and one for upkeep. `bound` are the addresses that clients may act as; all where none is.
    """

    def __init__(
        self,
        db_path: str | None = None,
        socket_path: str | None = None,
        *,
        bound: Sequence[str] = (),
        allowed_uids: Sequence[int] = (),
        max_request: int = protocol.MAX_REQUEST,
        max_connections: int = MAX_CONNECTIONS,
        group_commit: bool = True,
        retention: Any = None,
        **settings: Any,
    ) -> None:
        for address in bound:
            parse_address(address)
        # What is beyond the limits of retention goes in the thread for upkeep, and never on the way of a send.
        settings["retention"] = {}
        self.writer_bus = BusClient.at(_OWN_ADDRESS, db_path, register=False, checkpoints=False, **settings)
        self.bound = tuple(dict.fromkeys(bound))
        self.reader_bus = BusClient.at(_OWN_ADDRESS, self.writer_bus.db_path, register=False, **settings)
        # For what takes long. All three are opened now: one that is opened later could find another file in this one's
        # place, with this one's WAL beside it.
        settings["retention"] = retention or {}
        self.upkeep_bus = BusClient.at(_OWN_ADDRESS, self.writer_bus.db_path, register=False, **settings)
        self.allowed_uids = frozenset({os.geteuid(), *allowed_uids})
        self.max_request = max_request
        self.max_connections = max_connections
        self.held: dict[tuple[str, int], MailPusher] = {}
        self.settled: set[Connection] = set()  # those with answers that are ready to be written
        self.pushed = self.requests = self.errors = 0
        self._others = self.allowed_uids != {os.geteuid()}
        self._socket_path = socket_path
        self._group_commit = group_commit
        self._dispatcher = Dispatcher(METHODS)
        self._connections: set[Connection] = set()
        self._shared: dict[str, BusClient] = {}
        self._started_at = time.monotonic()
        self._data_version = -1

    async def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Serve until `stop` is called; `ready` gets the socket's path once clients can connect. Raises BindError."""
        self.loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._emptied = asyncio.Event()
        for name in _NEEDED_LATER:
            import_module(name)
        place = self._take_place()
        allowed = _allow_descriptors(places.descriptors_for(self.max_connections))
        self.places = places.Places(places.count_for(allowed, self.max_connections))
        # With durability "full" each commit waits for the disk, which the event loop must not.
        on_loop = self.writer_bus.durability == "normal"
        self._writer = Writer(self.writer_bus, self.loop, self._answer, on_loop=on_loop, groups=self._group_commit)
        self._reader = Worker("raven-reader", self.loop, self._answer)
        self._upkeep = Worker("raven-upkeep", self.loop, self._answer)
        # The socket is removed below, where that is right; newer Pythons would do it always.
        options: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        listening = await self.loop.create_unix_server(
            lambda: Connection(self), sock=place.socket, backlog=_ACCEPTED_AT_ONCE, **options
        )
        # What asyncio takes for the length of the queue is also how many it lets in before it looks at those inside.
        place.socket.listen(sockets.BACKLOG)
        self._ticker = self.loop.call_later(_TICK_S, self._tick)
        try:
            if ready is not None:
                ready(place.path)
            await self._stopped.wait()
        finally:
            place.remove()
            listening.close()
            self._ticker.cancel()
            await self._drain()

    def _take_place(self) -> sockets.ListeningSocket | sockets.PassedSocket:
        try:
            if sockets.is_passed() and self._socket_path is None:
                return sockets.PassedSocket()
            path = self._socket_path or f"{self.writer_bus.db_path}.sock"
            return sockets.ListeningSocket(path, others=self._others)
        except BaseException:
            self._close()
            raise

    def stop(self) -> None:
        """Stop: accept nobody, answer what was asked, give back what is held, and let `run` return."""
        self._stopped.set()

    async def _drain(self) -> None:
        for connection in list(self._connections):
            connection.stop()
        if self._connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), _DRAIN_S)
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)
        for worker in (self._writer, self._reader, self._upkeep):
            worker.end()
            if not await asyncio.to_thread(worker.join, _DRAIN_S):
                _log.warning("the bus was busy for too long: what was held comes back when its lease ends")
        self._close()

    def _close(self) -> None:
        self.writer_bus.close()
        self.reader_bus.close()
        self.upkeep_bus.close()

    # What connections use

    def share(self, address: str) -> BusClient:
        """Return the client that writes as an address; raises AddressError."""
        client = self._shared.get(address)
        if client is None:
            if len(self._shared) >= _MAX_SHARED:
                self._shared.clear()
            client = self._shared[address] = self.writer_bus.share(address)
        return client

    def dispatch(self, request: Any, caller: Caller) -> Reply:
        """Find out what a request comes to."""
        self.requests += 1
        reply = self._dispatcher.dispatch(request, caller)
        if reply.response is not None and "error" in reply.response:
            self.errors += 1
        return reply

    def submit(self, lane: Lane, run: Callable[[], Any], done: Done, weight: int = 1, by: object = None) -> None:
        """Have something done in a lane; `done` is called on the event loop."""
        if lane == "write":
            self._writer.submit(run, done, weight, by)
        elif lane == "upkeep":
            self._upkeep.submit(run, done)
        else:
            self._reader.submit(run, done)

    def write_alone(self, work: Work, by: object) -> Outcome | None:
        """Write at once what nobody else has a part in, where that is to be had."""
        return self._writer.write_alone(work.run, work.weight, by)

    def count_error(self) -> None:
        """Count a request that failed."""
        self.errors += 1

    def release(self, role: str, message_id: int, lease: int | None = None) -> None:
        """Note that a message is finished, or given back, for the subscription that holds it, if under this lease."""
        pusher = self.held.get((role, message_id))
        if pusher is not None and lease in (None, pusher.lease):
            del self.held[role, message_id]
            pusher.release(message_id)

    def check_running(self) -> None:
        """Raise ClosedError once the helper stops, for what takes longer than it can wait."""
        if self._stopped.is_set():
            raise ClosedError("the helper is stopping")

    def admit(self, connection: Connection) -> bool:
        """Count a connection in, unless it is one too many."""
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
        """Return what was done since the start, and what waits."""
        return {
            "version": raven.__version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started_at, 3),
            "connections": len(self._connections),
            "subscriptions": sum(len(connection.subscriptions) for connection in self._connections),
            "requests": self.requests,
            "errors": self.errors,
            "pushed": self.pushed,
            "unacked": len(self.held),
            "waits": sum(len(connection.waits) for connection in self._connections),
            "commits": self._writer.commits,
            "waiting_writes": self._writer.waiting(),
            "waiting_reads": self._reader.waiting(),
            "waiting_upkeep": self._upkeep.waiting(),
        }

    def _answer(self) -> None:
        """Let the connections write what is ready since the last time."""
        settled, self.settled = self.settled, set()
        for connection in settled:
            connection.take_turn()

    # The tick

    def _tick(self) -> None:
        is_deaf = any(connection.is_deaf() for connection in self._connections)
        self._ticker = self.loop.call_later(_DEAF_TICK_S if is_deaf else _TICK_S, self._tick)
        self.submit("read", self.reader_bus.data_version, self._look_all)
        if not self._upkeep.waiting():
            self.submit("upkeep", lambda: self.upkeep_bus.upkeep(_UPKEEP_S), _ignore)

    def _look_all(self, outcome: Outcome) -> None:
        """Let every subscription see to its doorbell, and look where the bus has changed without a ring."""
        changed = outcome.error is not None or outcome.value != self._data_version
        self._data_version = outcome.value
        for connection in list(self._connections):
            connection.tick(changed)


def serve(
    db_path: str | None = None,
    socket_path: str | None = None,
    *,
    ready: Callable[[str], None] | None = None,
    **options: Any,
) -> None:
    """Serve a bus until SIGTERM or SIGINT; the options are those of Server. A second signal ends it at once."""
    # What is there by now stays: let the collector look only at what comes.
    gc.freeze()

    async def run() -> None:
        server = Server(db_path, socket_path, **options)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(Shortage())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, loop, server)
        await server.run(ready)

    asyncio.run(run())


def _ignore(outcome: Outcome) -> None:
    """Whatever came of it: the next tick tries again."""


def _stop(loop: asyncio.AbstractEventLoop, server: Server) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    server.stop()


def _allow_descriptors(count: int) -> float:
    """Raise this process's limit on open descriptors to `count`, as far as the system lets it; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft == resource.RLIM_INFINITY:
        return math.inf
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return soft
