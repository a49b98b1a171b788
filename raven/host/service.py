"""Service: one process that serves a bus through one or several fronts, from its start to its end."""

from __future__ import annotations

import gc
import logging
import math
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from errno import EMFILE, ENFILE
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from raven.host.host import Host
from raven.host.limits import ServerLimits, descriptors_for, quota_for
from raven.model.address import parse_address

if TYPE_CHECKING:
    import asyncio

_TICK_S = 1.0
_FALLBACK_POLL_S = 0.1
_DRAIN_S = 10.0
_LOG_INTERVAL_S = 60.0
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
# Modules that are imported only when they are used, and here before the service runs. A later import would fail if all
# descriptors were in use, and would load another version if one was installed meanwhile.
_LAZY_MODULES = (
    "raven.delivery.dead_letters",
    "raven.store.atomic",
    "raven.query.peers",
    "raven.delivery.retention",
    "raven.query.stats",
)
_log = logging.getLogger("raven")


class Front(Protocol):
    """A way into the bus: sockets that clients connect to, and the connections of these clients."""

    max_connections: int  # that it holds at once, of all kinds
    lazy_modules: Sequence[str]  # that it imports only when they are used

    def bind(self) -> None:
        """Take the sockets, without accepting a client; raises BindError."""

    async def start(self) -> None:
        """Accept clients: the threads of the host run."""

    def on_batch_done(self) -> None:
        """Write the responses that have become complete: the callbacks of a batch of jobs have run."""

    def has_no_fifo(self) -> bool:
        """Whether a waiting request has no doorbell, and must be ticked more often."""

    def tick(self, changed: bool) -> None:
        """Once a second; `changed` tells whether the bus file has changed since the last tick."""

    def stop(self) -> None:
        """Give the sockets up, and end each connection after its requests. Also called if `start` was not."""

    async def drain(self, timeout_s: float) -> None:
        """Return when all connections have ended; abort those that have not after `timeout_s`."""


class Service:
    """Serves one bus through its fronts until it is stopped.

    The event loop reads, dispatches and writes; SQLite is used in the threads of the Host. `bound` are the addresses
    that clients may act as; if it is empty, they may act as any address. `limits` are ServerLimits by their names.
    Add the fronts before `start`. A program with an event loop of its own awaits `start` and `end`, or `run`.
    """

    def __init__(
        self,
        db_path: str | None = None,
        *,
        bound: Sequence[str] = (),
        group_commit: bool = True,
        retention: Any = None,
        limits: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> None:
        import asyncio

        for address in bound:
            parse_address(address)
        self.bound = tuple(dict.fromkeys(bound))
        self.limits = ServerLimits.of(limits or {}, bound=bool(self.bound))
        self.host = Host(db_path, group_commit=group_commit, retention=retention, limits=self.limits, **settings)
        self.fronts: list[Front] = []
        self._stopped = asyncio.Event()
        self._ticker: asyncio.TimerHandle | None = None

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Serve until `stop` is called; `ready` is called once clients can connect. Raises BindError."""
        await self.start()
        try:
            if ready is not None:
                ready()
            await self._stopped.wait()
        finally:
            await self.end()

    async def start(self) -> None:
        """Serve on the running event loop, until `end`; raises BindError, and the service has ended then."""
        import asyncio

        self.loop = asyncio.get_running_loop()
        try:
            for name in (*_LAZY_MODULES, *(name for front in self.fronts for name in front.lazy_modules)):
                import_module(name)
            self.host.load_quota(self.bound)
            for front in self.fronts:
                front.bind()
            connections = sum(front.max_connections for front in self.fronts)
            allowed = _allow_descriptors(descriptors_for(connections))
        except BaseException:
            for front in self.fronts:
                front.stop()
            self.host.close()
            raise
        on_batch_done = self.fronts[0].on_batch_done if len(self.fronts) == 1 else self._on_batch_done
        self.host.start(self.loop, quota_for(allowed, connections), on_batch_done)
        try:
            for front in self.fronts:
                await front.start()
        except BaseException:
            await self.end()
            raise
        self._ticker = self.loop.call_later(_TICK_S, self._tick)

    def stop(self) -> None:
        """Stop: accept no client, respond to all requests, release all leases, and let `run` return."""
        self.host.is_stopping = True
        self._stopped.set()

    async def end(self) -> None:
        """Stop, and return when all connections have ended and the bus is closed."""
        import asyncio

        self.stop()
        if self._ticker is not None:
            self._ticker.cancel()
        for front in self.fronts:
            front.stop()
        await asyncio.gather(*(front.drain(_DRAIN_S) for front in self.fronts))
        if not await self.host.end(_DRAIN_S):
            _log.warning("the bus was busy for too long: leased messages are delivered again when their leases end")

    def _on_batch_done(self) -> None:
        for front in self.fronts:
            front.on_batch_done()

    def _tick(self) -> None:
        has_no_fifo = any(front.has_no_fifo() for front in self.fronts)
        self._ticker = self.loop.call_later(_FALLBACK_POLL_S if has_no_fifo else _TICK_S, self._tick)
        self.host.tick(self._tick_fronts)

    def _tick_fronts(self, changed: bool) -> None:
        for front in self.fronts:
            front.tick(changed)


class FdExhaustionLogger:
    """An exception handler for a service's event loop (loop.set_exception_handler) that reports a lack of descriptors.

    If no descriptor is left for another client, asyncio stops accepting for a second, then tries again: the waiting
    client is then accepted. The log gets one line about that per minute.
    """

    def __init__(self) -> None:
        self._logged_at = -_LOG_INTERVAL_S

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log a lack of descriptors; pass any other context to asyncio's default handler."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE):
            if time.monotonic() - self._logged_at >= _LOG_INTERVAL_S:
                self._logged_at = time.monotonic()
                _log.warning(
                    "no descriptor is left for another client, which waits: raise the limit (`ulimit -n`), or lower "
                    "--max-connections"
                )
        # After its pause asyncio accepts again, and raises this ValueError if the server has stopped meanwhile.
        elif not (isinstance(error, ValueError) and "_start_serving" in str(context.get("handle"))):
            loop.default_exception_handler(context)


def run_until_signal(service: Service, ready: Callable[[], None] | None = None) -> None:
    """Run a service until SIGTERM or SIGINT. A second signal ends the process at once."""
    import asyncio

    _return_memory()
    # The objects of imported modules live as long as the process: exclude them from garbage collection.
    gc.freeze()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(FdExhaustionLogger())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, loop, service)
        await service.run(ready)

    asyncio.run(run())


def _return_memory() -> None:
    """Let freed long texts go back to the system at once, where malloc has such options: mallopt(3) of glibc."""
    with suppress(OSError, AttributeError):
        import ctypes

        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 256 * 1024)
        libc.mallopt(_M_ARENA_MAX, 2)


def _stop(loop: asyncio.AbstractEventLoop, service: Service) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    service.stop()


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
