"""Hub: reads the bus once for all viewers, while there are any."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from raven.errors import BusyError, ClosedError, LimitError, RavenError
from raven.host.bus import HostedBus
from raven.host.host import Host
from raven.host.limits import Answers
from raven.host.poller import Poller
from raven.host.worker import Outcome, ignore
from raven.wake.listener import Listener
from raven_http.events.filter import Filter, Wanted
from raven_http.events.position import Position, Start
from raven_http.events.presence import Presence
from raven_http.events.ring import Ring
from raven_http.events.source import Batch, Source, frame

# Acks and other changes of deliveries ring no doorbell that all hear.
_POLL_S = 0.05
# After a read the next one waits so long: a busy bus is read in batches, and not after each commit.
_PACE_S = 0.003
_BUSY_PAUSE_S = 0.2
# The change log ends a day after the last viewer, so viewers put off its end.
_RENEW_S = 600.0
_ERROR_PAUSE_S = 1.0
UNREADABLE = "the bus was replaced, or could not be read for a moment"
_log = logging.getLogger("raven")
_T = TypeVar("_T")


class Member(Protocol):
    """A viewer, as the hub knows it. The hub calls it on the event loop."""

    filter: Filter

    def on_attached(self, number: int, position: Position, tag: str) -> None:
        """From the event of this number on, the ring has all events for the viewer; before it the hub was here."""

    def on_reset(self, reason: str) -> None:
        """Begin anew, because the stream cannot go on from its position."""

    def wake(self) -> None:
        """There may be more to send, or the viewer is stalled, or its heartbeat is due."""

    def tick(self) -> None:
        """Once a second."""

    def end(self) -> None:
        """End the stream."""


class _Fetched(NamedTuple):
    """The batch of one step, and up to which viewer it heeds the wishes of all."""

    batch: Batch
    generation: int
    state: tuple[int, Position]


class Hub:
    """The one reader of all event streams; create it, and call its methods, on the event loop of a started Host.

    While there are viewers it reads when the doorbell for all traffic rings, when `poke` is called, and every 50 ms.
    The first viewer lets the bus log its changes, and the log ends a day after the last. `bound` are the addresses that
    viewers see the bus as; none: all. Viewers that ask for it are told so, and whether the server is `read_only`.
    """

    def __init__(
        self, host: Host, bound: Sequence[str] = (), *, read_only: bool = False, max_viewers: int = 256
    ) -> None:
        self.host = host
        self.server = frame("server", {"read_only": read_only, "as": list(bound)})
        self.bus: HostedBus = host.reader_bus.scoped(bound) if bound else host.reader_bus
        self.ring = Ring()
        self.position = Position(0, 0)
        self.refusal = ""  # why the bus cannot log its changes
        self.presence = Presence(host, bound, lambda: self._state, self._wake_all)
        self.is_stopped = False
        self.unread = Answers(host.limits)  # the text of all streams that is encoded and not written
        self.turn = asyncio.Lock()  # of viewers that read the store
        self._max_viewers = max_viewers
        self._viewers: dict[Member, int] = {}  # with their generation
        self._waiting: dict[Member, None] = {}  # to be attached
        self._generation = 0
        self._wanted: tuple[int, Wanted] = (0, Wanted(frozenset(), is_logged=True))
        self._state: tuple[int, Position] = (0, self.position)
        self._source: Source | None = None
        self._poller: Poller | None = None
        self._is_preparing = False
        self._timer: asyncio.TimerHandle | None = None
        self._commits = 0
        self._next_read_at = 0.0
        self._renew_at = 0.0

    def __len__(self) -> int:
        return len(self._viewers)

    # Viewers

    def add(self, viewer: Member) -> None:
        """Add a viewer, which is attached soon; raises LimitError, which is retryable, or ClosedError."""
        if self.is_stopped or self.host.is_stopping:
            raise ClosedError("the server is stopping")
        if len(self._viewers) >= self._max_viewers:
            error = LimitError(f"{self._max_viewers:,} event streams are open, which is the limit: try again later")
            error.retryable = True
            raise error
        self._generation += 1
        self._viewers[viewer] = self._generation
        self._want()
        self.attach(viewer)

    def attach(self, viewer: Member) -> None:
        """Attach a viewer to the ring, from the next batch on that heeds its wishes."""
        self._waiting[viewer] = None
        if self._poller is None:
            self._prepare()
        else:
            self._poller.poll()

    def remove(self, viewer: Member) -> None:
        """Remove a viewer; without any, the hub does nothing. Idempotent."""
        self._waiting.pop(viewer, None)
        if self._viewers.pop(viewer, None) is not None:
            self._want()
        if not self._viewers:
            self._close()

    @property
    def wanted(self) -> Wanted:
        """The wishes of all viewers."""
        return self._wanted[1]

    async def read(self, run: Callable[[], _T]) -> _T:
        """Call a function in the thread of the reader, after other reads, and return its result; raises its error."""
        future: asyncio.Future[_T] = self.host.loop.create_future()

        def done(outcome: Outcome) -> None:
            if future.done():
                return
            if outcome.error is None:
                future.set_result(outcome.value)
            else:
                future.set_exception(outcome.error)

        self.host.executors["log"].submit(run, done)
        return await future

    def _want(self) -> None:
        filters = frozenset(viewer.filter for viewer in self._viewers)
        self._wanted = (self._generation, Wanted(filters, is_logged=not self.refusal))
        kinds = frozenset[str]().union(*(one.kinds for one in filters))
        self.presence.want(peers="peer" in kinds, stats="stats" in kinds)

    def _wake_all(self) -> None:
        for viewer in self._viewers:
            viewer.wake()

    # The program that owns the host calls these

    def poke(self) -> None:
        """Note that this program may have written to the bus."""
        commits, self._commits = self._commits, self.host.writer.commits
        if self._poller is not None and commits != self._commits:
            self._poller.poll()

    def tick(self, changed: bool) -> None:
        """Once a second: check the doorbell, and the viewers; `changed` as for a Poller."""
        if self._poller is not None:
            self._poller.tick(changed)
        if self._source is not None and self._viewers and self.host.loop.time() >= self._renew_at:
            self._renew_at = self.host.loop.time() + _RENEW_S
            self.host.writer.submit(self._enable, ignore)
        for viewer in list(self._viewers):
            viewer.tick()

    def stop(self) -> None:
        """End all streams at once; no other begins. Idempotent."""
        self.is_stopped = True
        for viewer in list(self._viewers):
            viewer.end()
        self._close()

    # The reader

    def _prepare(self) -> None:
        """Let the bus log its changes, then read on from its end."""
        if self._is_preparing or self._source is not None or self.is_stopped or not self._viewers:
            return
        self._is_preparing = True
        self.host.writer.submit(self._enable, self._on_enabled)

    def _enable(self) -> None:
        """In the thread of the writer."""
        self.host.writer_bus.change_log().enable()

    def _on_enabled(self, outcome: Outcome) -> None:
        error = outcome.error
        if isinstance(error, BusyError | ClosedError):
            self._retry(_BUSY_PAUSE_S)
            return
        refusal = "" if error is None else "the bus cannot log its changes: see the log of the server"
        if isinstance(error, RavenError) and refusal != self.refusal:
            _log.warning("event streams have no receipts: %s", error)
        self.refusal = refusal
        self._want()
        self.host.reader.submit(partial(self._open, not refusal, self._poller is None), self._on_opened)

    def _open(self, is_logged: bool, with_listener: bool) -> tuple[Source, Listener | None]:
        """Begin to read at the end of the stream; in the thread of the reader."""
        listener = self.bus.listener(watch=False) if with_listener else None
        try:
            return Source(self.bus, Start(), is_logged=is_logged), listener
        except BaseException:
            if listener is not None:
                listener.close()
            raise

    def _on_opened(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._retry(_ERROR_PAUSE_S)
            return
        source, listener = outcome.value
        self._is_preparing = False
        if self.is_stopped or not self._viewers:
            if listener is not None:
                self.host.reader.submit(listener.close, ignore)
            return
        if listener is None and self._poller is None:  # all viewers left meanwhile, and others came
            self._prepare()
            return
        self._source, self.position = source, source.position
        if listener is not None:
            self._poller = Poller(self.host, "read", listener, _NoSink(), self._fetch, self)
            self._poller.start()
            self._timer = self.host.loop.call_later(_POLL_S, self._look)
        elif self._poller is not None:
            self._poller.poll()

    def _retry(self, pause_s: float) -> None:
        self._is_preparing = False
        self.host.loop.call_later(pause_s, self._prepare)

    def _fetch(self, max: int, notified: bool) -> _Fetched | None:
        """Read the next batch; in the thread of the reader."""
        generation, wanted = self._wanted
        source = self._source
        if source is None:
            return None
        version = self.bus.data_version()
        batch = source.step(wanted)
        return _Fetched(batch, generation, (version, batch.position))

    def _look(self) -> None:
        """Poll if the bus has changed; here, because a thread would take ten times as long to say no."""
        if self._poller is None:
            return
        self._timer = self.host.loop.call_later(_POLL_S, self._look)
        if self._poller.is_fetching:
            return
        with suppress(RavenError):
            if self.bus.no_wait(self.bus.data_version) == self._state[0]:
                return
        self._poller.poll()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._poller is not None:
            self._poller.close()
        self._poller = self._source = None
        self.ring.clear()

    # As the owner of a poller

    def capacity(self) -> int:
        """Return 1: one batch at a time; 0 just after a read, and poll again in time."""
        wait_s = self._next_read_at - self.host.loop.time()
        if wait_s > 0 and self._poller is not None:
            self._poller.poll_after(wait_s)
            return 0
        return 1

    def on_fetched(self, fetched: _Fetched | None) -> None:
        """Put a batch into the ring, and wake the viewers."""
        poller, source = self._poller, self._source
        if poller is None or source is None or fetched is None:
            return
        batch = fetched.batch
        if batch.reset:
            self._begin_anew(batch.reset)
            return
        self._state = fetched.state
        if batch.is_at_end:
            self._next_read_at = self.host.loop.time() + _PACE_S
        waiting = [one for one in self._waiting if self._viewers[one] <= fetched.generation]
        for viewer in waiting:
            del self._waiting[viewer]
            viewer.on_attached(self.ring.next, self.position, source.tag)
        self.position = batch.position
        self.ring.add(batch.events)
        if batch.events:
            self._wake_all()
        if self._waiting or not batch.is_at_end:
            poller.poll_after(0)

    def fail(self, error: Exception) -> None:
        """Begin anew when the file can be read again."""
        self._begin_anew(UNREADABLE, _BUSY_PAUSE_S)

    def _begin_anew(self, reason: str, pause_s: float = 0.0) -> None:
        """Reset all viewers, and read on from the end of the file that is there now."""
        self._source = None
        self.ring.clear()
        self.presence.forget()
        for viewer in list(self._viewers):
            viewer.on_reset(reason)
        self.host.loop.call_later(pause_s, self._prepare)


class _NoSink:
    """A sink for the poller that is never full."""

    is_full = False

    def unsent_bytes(self) -> int:
        """Return 0."""
        return 0

    def has_room(self) -> bool:
        """Return True."""
        return True

    def encode(self, subscription: int, messages: Any, leased_until: int | None = None) -> bytes:
        """Return nothing."""
        return b""

    def write(self, text: bytes, messages: Any) -> None:
        """Write nothing."""

    def end(self, subscription: int, reason: str, error: Exception | None = None) -> None:
        """Do nothing."""

    def on_idle(self) -> None:
        """Do nothing."""
