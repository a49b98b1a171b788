"""Poller: fetches from the store when a doorbell rings or a time has come, on behalf of its owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from raven.errors import RavenError
from raven.host.host import Host
from raven.host.worker import Executor, Outcome, ignore
from raven.model.message import Message
from raven.wake.listener import Listener

if TYPE_CHECKING:
    import asyncio

_BUSY_PAUSE_S = 0.2


class Sink(Protocol):
    """The destination of messages: one consumer's connection, of any protocol. Called on the event loop only.

    When it can write again it calls `resume` of its Subscriptions and its DeferredSet.
    """

    is_full: bool  # the consumer reads more slowly than the host writes, or has gone

    def unsent_bytes(self) -> int:
        """Return how many written bytes the consumer has not read, as far as the system tells."""

    def has_room(self) -> bool:
        """Whether more messages may be fetched for the consumer. Any thread may call it."""

    def encode(self, subscription: int, messages: Sequence[Message], leased_until: int | None = None) -> bytes:
        """Encode messages for `write`, leased at least until a time in microseconds, or acked. Any thread."""

    def write(self, text: bytes, messages: Sequence[Message]) -> None:
        """Write the new messages of a subscription, as `encode` returned them."""

    def end(self, subscription: int, reason: str, error: Exception | None = None) -> None:
        """Report the end of a subscription: `reason` is "done" after the last message of a log, or "error"."""

    def on_idle(self) -> None:
        """Note that a paused or ended subscription has no message on its way any more."""


class PollOwner(Protocol):
    """The owner of a poller: says how much may be fetched, and takes the result; called on the event loop."""

    def capacity(self) -> int:
        """Return how many messages may be fetched now; after 0, call `poll_if_needed` or `poll_after` later."""

    def on_fetched(self, value: Any, /) -> None:
        """Process the fetched value, also if the poller was closed meanwhile."""

    def fail(self, error: Exception, /) -> None:
        """Process an error that is not retryable."""


class Poller:
    """Runs `fetch(max, notified)` in an executor when the doorbell rings, and hands the result to its owner.

    It runs one fetch at a time, so at most one batch waits in memory for a slow consumer; the rest stays in the store.
    It does not fetch while the sink is full.
    """

    def __init__(
        self,
        host: Host,
        executor: Executor,
        listener: Listener,
        sink: Sink,
        fetch: Callable[[int, bool], Any],
        owner: PollOwner,
    ) -> None:
        self._host = host
        self._loop = host.loop
        self._worker = host.executors[executor]
        self._listener = listener
        self._sink = sink
        self._fetch = fetch
        self._owner = owner
        self._descriptor = -1
        self._notified = self._is_due = self._owes_ring = False
        self._timer: asyncio.TimerHandle | None = None
        self.is_fetching = self.is_paused = self.is_closed = False

    def start(self) -> None:
        """Begin to poll, unless it was closed meanwhile."""
        if not self.is_closed:
            self._attach()
            self.poll()

    def poll(self) -> None:
        """Fetch now, or as soon as the owner has capacity."""
        self._is_due = True
        self.poll_if_needed()

    def poll_if_needed(self) -> None:
        """Fetch if the doorbell rang or a time has come, and the owner has capacity; if not, pass the ring on."""
        if self.is_fetching or self.is_closed or not (self._notified or self._is_due):
            return
        if self.is_paused or self._sink.is_full or (capacity := self._owner.capacity()) <= 0:
            self._pass_on()
            return
        self.is_fetching, self._owes_ring = True, False
        notified, self._notified, self._is_due = self._notified, False, False
        self._worker.submit(partial(self._fetch, capacity, notified), self._on_fetch_done, capacity)

    def tick(self, changed: bool) -> None:
        """Once a second: check the doorbell, and poll if the bus has changed."""
        if self.is_closed:
            return
        if self._listener.doorbell_exists():
            self._listener.tick()
        else:
            self._detach()
            self._listener.tick()
            self._attach()
            changed = True
        if changed or self._listener.has_no_fifo:
            self.poll()

    def has_no_fifo(self) -> bool:
        """Whether the listener has no doorbell."""
        return self._listener.has_no_fifo

    def poll_after(self, pause_s: float) -> None:
        """Poll after a pause, or earlier if that is planned already; with 0, right after the running fetch."""
        if pause_s <= 0:
            self._is_due = True
            return
        when = self._loop.time() + pause_s
        if self._timer is not None and not self._timer.cancelled() and self._loop.time() < self._timer.when() <= when:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self.poll)

    def close(self) -> None:
        """Stop polling, and close the doorbell. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        self._pass_on()
        self._detach()
        if self._timer is not None:
            self._timer.cancel()
        # In a thread: closing the last listener waits for the end of the WAL watch.
        self._host.reader.submit(self._listener.close, ignore)

    def _on_ring(self) -> None:
        self._listener.drain()
        self._notified = self._owes_ring = True
        self.poll_if_needed()

    def _pass_on(self) -> None:
        """Ring another waiter at the address, if this one was rung and cannot take the mail."""
        if self._owes_ring:
            self._owes_ring = False
            self._listener.pass_on(forward=True)

    def _on_fetch_done(self, outcome: Outcome) -> None:
        """Hand the outcome of a fetch to the owner; poll again if the doorbell rang meanwhile."""
        self.is_fetching = False
        if outcome.error is None:
            self._owner.on_fetched(outcome.value)
        elif self.is_closed:
            pass
        elif isinstance(outcome.error, RavenError) and outcome.error.retryable:
            self.poll_after(_BUSY_PAUSE_S)
        else:
            self._owner.fail(outcome.error)
        if self.is_paused or self.is_closed:
            self._sink.on_idle()
        elif self._notified or self._is_due:
            self.poll_if_needed()

    def _attach(self) -> None:
        self._descriptor = self._listener.fileno()
        if self._descriptor >= 0:
            self._loop.add_reader(self._descriptor, self._on_ring)

    def _detach(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            self._descriptor = -1
