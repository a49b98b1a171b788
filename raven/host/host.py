"""Host: one bus in a program that acts for many addresses, on one event loop, with threads for blocking work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from raven.errors import ClosedError
from raven.host.admission import Admission, Rates
from raven.host.bus import HostedBus
from raven.host.leases import Unacked
from raven.host.limits import UNBOUND, Answers, LongRequests, ServerLimits, WaitQuota
from raven.host.worker import Executor, LogReader, Outcome, Reader, Worker, Writer, ignore
from raven.model.version import __version__

if TYPE_CHECKING:
    import asyncio

# The host's own address: it never sends, and is not registered.
_OWN_ADDRESS = "raven:serve"
# At most this part of each tick goes to deletions by the retention limits.
_MAINTENANCE_S = 0.05
_MAX_CLIENTS = 10_000


class Host:
    """Three connections to one bus, each used by one thread: the writer's, the reader's and that of maintenance.

    Call `start` on the event loop, `tick` once a second, and at the end `end`, or `close` if it was never started. The
    event loop submits its work on the bus to one of the `executors`. The settings are HostedBus settings.
    """

    def __init__(
        self,
        db_path: str | None = None,
        *,
        group_commit: bool = True,
        retention: Any = None,
        limits: ServerLimits = UNBOUND,
        **settings: Any,
    ) -> None:
        self.limits = limits
        # The maintenance thread deletes by the retention limits, so that no send has to.
        settings["retention"] = {}
        self.writer_bus = HostedBus.at(_OWN_ADDRESS, db_path, register=False, checkpoints=False, **settings)
        self.admission = self.writer_bus.admission = Admission(limits)
        self.rates = Rates.of(limits, self.admission)
        self.long_requests = LongRequests(limits)
        self.answers = Answers(limits)
        self.reader_bus = HostedBus.at(_OWN_ADDRESS, self.writer_bus.db_path, register=False, **settings)
        # For long work. All three are opened now: a later open could find another file at this path, with the WAL of
        # this file beside it.
        settings["retention"] = retention or {}
        self.admin_bus = HostedBus.at(_OWN_ADDRESS, self.writer_bus.db_path, register=False, **settings)
        self.unacked = Unacked()
        self.pushed = 0  # messages, since the start
        self.is_stopping = False
        self._group_commit = group_commit
        self._clients: dict[str, HostedBus] = {}
        self._data_version = -1
        self._started_at = time.monotonic()

    @property
    def db_path(self) -> str:
        """The path of the bus file."""
        return self.writer_bus.db_path

    def start(self, loop: asyncio.AbstractEventLoop, max_waits: int, on_batch_done: Callable[[], None]) -> None:
        """Start the threads; they report to `loop`, and call `on_batch_done` there after the callbacks of each batch.

        At most `max_waits` subscriptions and requests may wait at doorbells at once.
        """
        self.loop = loop
        self._on_batch_done = on_batch_done
        self.wait_quota = WaitQuota(max_waits)
        # With durability "full" each commit waits for the disk, and the event loop must not wait.
        on_loop = self.writer_bus.durability == "normal"
        self.writer = Writer(self.writer_bus, loop, on_batch_done, on_loop=on_loop, groups=self._group_commit)
        self.reader = Reader("raven-reader", loop, on_batch_done)
        self.admin = Worker("raven-admin", loop, on_batch_done)
        self.executors: dict[Executor, Worker | LogReader] = {
            "write": self.writer,
            "read": self.reader,
            "admin": self.admin,
            "log": self.reader.log,
        }

    def load_quota(self, addresses: Sequence[str]) -> None:
        """Count the unfinished mail of these addresses against the limits, as that of later sends. Before `start`."""
        if self.admission.has_quota:
            self.admission.load(*self.reader_bus.unfinished_of(addresses))

    @cached_property
    def parser(self) -> Worker:
        """A thread for long texts; only a host that gets one has it."""
        return Worker("raven-parser", self.loop, self._on_batch_done)

    def counters(self) -> dict[str, Any]:
        """Return counters since the start, and the numbers of waiting jobs, of all ways into the bus together."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started_at, 3),
            "pushed": self.pushed,
            "unacked": len(self.unacked),
            "commits": self.writer.commits,
            "waiting_writes": self.writer.pending(),
            "waiting_reads": self.reader.pending(),
            "waiting_upkeep": self.admin.pending(),
        }

    def for_address(self, address: str) -> HostedBus:
        """Return the client that writes as an address; raises AddressError."""
        client = self._clients.get(address)
        if client is None:
            if len(self._clients) >= _MAX_CLIENTS:
                self._clients.clear()
            client = self._clients[address] = self.writer_bus.for_address(address)
        return client

    def check_running(self) -> None:
        """Raise ClosedError if the host is stopping. Long work calls this now and then, in any thread."""
        if self.is_stopping:
            raise ClosedError("the server is stopping")

    def tick(self, on_checked: Callable[[bool], None]) -> None:
        """End slow requests, call `on_checked` with whether the bus file has changed, and run maintenance.

        The change is one since the last tick.
        """
        self.reader.submit(self.reader_bus.data_version, partial(self._compare, on_checked))
        if not self.admin.pending():
            self.admin.submit(lambda: self.admin_bus.run_maintenance(_MAINTENANCE_S), ignore)

    def _compare(self, on_checked: Callable[[bool], None], outcome: Outcome) -> None:
        changed = outcome.error is not None or outcome.value != self._data_version
        self._data_version = outcome.value
        self.long_requests.tick()
        on_checked(changed)

    async def end(self, timeout_s: float) -> bool:
        """Let each thread finish its jobs, and close the bus; returns whether each ended within `timeout_s`."""
        import asyncio

        ended = []
        parsers = [self.parser] if "parser" in vars(self) else []
        for worker in (*parsers, self.writer, self.reader, self.admin):
            worker.end()
            ended.append(await asyncio.to_thread(worker.join, timeout_s))
        self.close()
        return all(ended)

    def close(self) -> None:
        """Close the bus; every later call raises ClosedError."""
        self.writer_bus.close()
        self.reader_bus.close()
        self.admin_bus.close()
