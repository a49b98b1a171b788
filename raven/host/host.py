"""Host: one bus in a program that speaks for many addresses, on one event loop, with threads for what must wait."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from raven.errors import ClosedError
from raven.host.bus import HostedBus
from raven.host.leases import Unacked
from raven.host.limits import WaitQuota
from raven.host.worker import Lane, Outcome, Worker, Writer, ignore

if TYPE_CHECKING:
    import asyncio

# The host's own name; it never sends, nor is it registered.
_OWN_ADDRESS = "raven:serve"
# For so long of each tick, at most, it drops what is beyond the limits of retention.
_UPKEEP_S = 0.05
_MAX_SHARED = 10_000


class Host:
    """Three connections to one bus, each used in a thread of its own: one writes, one reads, one is for upkeep.

    Call `start` on the event loop, `tick` once a second, and at the end `end`, or `close` if it was never started. What
    an event loop does with the bus it submits to one of the `lanes`. Settings are those of HostedBus.
    """

    def __init__(
        self, db_path: str | None = None, *, group_commit: bool = True, retention: Any = None, **settings: Any
    ) -> None:
        # What is beyond the limits of retention goes in the thread for upkeep, and never on the way of a send.
        settings["retention"] = {}
        self.writer_bus = HostedBus.at(_OWN_ADDRESS, db_path, register=False, checkpoints=False, **settings)
        self.reader_bus = HostedBus.at(_OWN_ADDRESS, self.writer_bus.db_path, register=False, **settings)
        # For what takes long. All three are opened now: one that is opened later could find another file in this one's
        # place, with this one's WAL beside it.
        settings["retention"] = retention or {}
        self.upkeep_bus = HostedBus.at(_OWN_ADDRESS, self.writer_bus.db_path, register=False, **settings)
        self.unacked = Unacked()
        self.pushed = 0  # messages, since the start
        self.is_stopping = False
        self._group_commit = group_commit
        self._shared: dict[str, HostedBus] = {}
        self._data_version = -1

    @property
    def db_path(self) -> str:
        """The path of the bus file."""
        return self.writer_bus.db_path

    def start(self, loop: asyncio.AbstractEventLoop, max_waits: int, told: Callable[[], None]) -> None:
        """Begin to work for an event loop, on which `told` is called when all that was done together has been told.

        At most `max_waits` subscriptions and requests may wait at doorbells at once.
        """
        self.loop = loop
        self.wait_quota = WaitQuota(max_waits)
        # With durability "full" each commit waits for the disk, which the event loop must not.
        on_loop = self.writer_bus.durability == "normal"
        self.writer = Writer(self.writer_bus, loop, told, on_loop=on_loop, groups=self._group_commit)
        self.reader = Worker("raven-reader", loop, told)
        self.upkeep = Worker("raven-upkeep", loop, told)
        self.lanes: dict[Lane, Worker] = {"write": self.writer, "read": self.reader, "upkeep": self.upkeep}

    def share(self, address: str) -> HostedBus:
        """Return the client that writes as an address; raises AddressError."""
        client = self._shared.get(address)
        if client is None:
            if len(self._shared) >= _MAX_SHARED:
                self._shared.clear()
            client = self._shared[address] = self.writer_bus.share(address)
        return client

    def check_running(self) -> None:
        """Raise ClosedError once the host stops, for what takes longer than it can wait; in any thread."""
        if self.is_stopping:
            raise ClosedError("the server is stopping")

    def tick(self, look: Callable[[bool], None]) -> None:
        """Call `look` with whether the bus may have changed without a ring, and look after the bus for a while."""
        self.reader.submit(self.reader_bus.data_version, partial(self._compare, look))
        if not self.upkeep.waiting():
            self.upkeep.submit(lambda: self.upkeep_bus.upkeep(_UPKEEP_S), ignore)

    def _compare(self, look: Callable[[bool], None], outcome: Outcome) -> None:
        changed = outcome.error is not None or outcome.value != self._data_version
        self._data_version = outcome.value
        look(changed)

    async def end(self, timeout_s: float) -> bool:
        """Let each thread end what it has, and close the bus; returns whether each has ended in so many seconds."""
        import asyncio

        ended = []
        for worker in self.lanes.values():
            worker.end()
            ended.append(await asyncio.to_thread(worker.join, timeout_s))
        self.close()
        return all(ended)

    def close(self) -> None:
        """Close the bus; every later call raises ClosedError."""
        self.writer_bus.close()
        self.reader_bus.close()
        self.upkeep_bus.close()
