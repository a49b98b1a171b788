"""Cancellable: what a program can await of raven, over the file or a socket, and what must be so once it was cancelled.

Each is begun on mail that comes in little by little, while another writer is in the way now and then, so that it is
suspended wherever it can be.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from raven import BusClient, RavenError
from raven.wake.doorbell import Doorbells

_MESSAGES = 5
_GAP_S = 0.002
_HOLD_S = 0.003
# What is given up while another writer is in the way is left to end by itself: after so long.
_REQUEST_S = 3
# More than the 30 s for which the helper leases: what it cannot give back, since another is writing, comes then.
_PATIENCE_S = 45.0


class Bus(Protocol):
    """What a BusClient and a client of the helper have in common here."""

    subscribe: Callable[..., Any]
    request_async: Callable[..., Coroutine[Any, Any, Any]]
    wait_receipt_async: Callable[..., Coroutine[Any, Any, Any]]
    ack: Callable[..., None]


class Bench:
    """The bus, the one who cancels what he awaits, and a client that feeds him and looks after him."""

    def __init__(self, db: str, address: str, bus: Bus) -> None:
        self.address = address
        self.bus = bus
        self.boss = BusClient.at(f"boss-of-{address}", db, busy_timeout_s=30, register=False)
        self.receiver = BusClient.at(address, db, busy_timeout_s=30, register=False)
        self.doorbells = Doorbells(self.boss.db_path)
        self._other = BusClient.at(f"other-of-{address}", db, busy_timeout_s=30, register=False)

    @contextmanager
    def fed(self) -> Iterator[list[int]]:
        """Send mail meanwhile, a transaction of another between one and the next; yields the ids."""
        sent: list[int] = []

        def feed() -> None:
            for number in range(_MESSAGES):
                sent.append(self.boss.send(self.address, "cancel", number).id)
                time.sleep(_GAP_S)
                with self._other.transaction() as tx:
                    tx.send(f"nobody-{self.address}", "nothing", expires_in_s=0.001)
                    time.sleep(_HOLD_S)

        with _thread(feed):
            yield sent

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Answer the requests to `answerer-of-<address>` meanwhile, and ack what came there."""
        over = threading.Event()
        answerer = BusClient.at(f"answerer-of-{self.address}", self.boss.db_path, busy_timeout_s=30, register=False)

        def answer() -> None:
            while not over.is_set():
                for msg in answerer.claim(max=10):
                    over.wait(_GAP_S)
                    with suppress(RavenError):  # given up meanwhile
                        answerer.reply(msg, "answer", msg.body)
                    answerer.ack(msg.id)
                over.wait(_GAP_S)

        with _thread(answer):
            try:
                yield
            finally:
                over.set()
        answerer.close()

    def drain(self, wanted: set[int], but: int = 0) -> list[int]:
        """Take what is left for the address until all that is wanted `but` so many came, or for some time in vain.

        Returns the ids, also of what is left of earlier rounds: that must not count for what is wanted.
        """
        left: list[int] = []
        give_up_at = time.monotonic() + _PATIENCE_S
        while True:
            for msg in self.receiver.claim(max=100):
                self.receiver.ack(msg.id)
                left.append(msg.id)
            if len(wanted.difference(left)) <= but or time.monotonic() > give_up_at:
                return left
            time.sleep(0.001)

    def close(self) -> None:
        """Close the clients."""
        for client in (self.boss, self.receiver, self._other):
            client.close()


class Subscribing:
    """A loop of `subscribe`: what was not handed out, and by hand what was not acked, goes back."""

    def __init__(self, bench: Bench, ack: str) -> None:
        self._bench = bench
        self._ack = ack
        self.name = f"subscribe, {ack} acks"
        self._finished: list[int] = []

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        self._finished = []
        with self._bench.fed() as self._sent:
            yield

    async def run(self) -> None:
        count = 0
        async for msg in self._bench.bus.subscribe(ack=self._ack, poll_interval_s=0.05, max_per_poll=4):
            count += 1
            if self._ack == "auto":
                self._finished.append(msg.id)
            elif msg.id % 2 or msg.attempts > 1:
                self._bench.bus.ack(msg.id)
                self._finished.append(msg.id)
            else:
                self._bench.bus.nack(msg.id)  # type: ignore[attr-defined]
            if len(self._finished) == _MESSAGES:
                break

    def faults(self, in_hand: int) -> Iterator[tuple[str, str]]:
        """Tell what is lost beyond `in_hand` messages, and what came twice."""
        found = self._finished + self._bench.drain(set(self._sent).difference(self._finished), in_hand)
        lost = set(self._sent) - set(found)
        if len(lost) > in_hand:
            states = ", ".join(f"#{id} {self._bench.boss.receipts(id)[0].state}" for id in sorted(lost))
            where = f"{self.name}, at {self._bench.address}"
            yield "lost", f"{where}: of {len(self._sent)} messages these are gone after {_PATIENCE_S:g} s: {states}"
        if len(found) > len(set(found)):
            yield "duplicated", f"{self.name}: {sorted(found)}"


class Requesting:
    """A request: nothing is left of it, and nobody begins with it any more."""

    name = "request_async"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._to = f"answerer-of-{bench.address}"

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        with self._bench.answered(), self._bench.fed():
            yield

    async def run(self) -> None:
        for number in range(2):
            answer = await self._bench.bus.request_async(self._to, "question", number, timeout_s=_REQUEST_S)
            assert answer.body == number

    def faults(self, in_hand: int) -> Iterator[tuple[str, str]]:
        """Tell which requests, or answers to them, somebody could still begin with once their time is over."""
        give_up_at = time.monotonic() + _PATIENCE_S
        while left := [
            peer.address for peer in self._bench.boss.peers() if peer.pending and self._is_ours(peer.address)
        ]:
            if time.monotonic() > give_up_at:
                yield "broken", f"what was asked or answered by a request that was cancelled is still there: {left}"
                break
            time.sleep(0.005)
        self._bench.drain(set())

    def _is_ours(self, address: str) -> bool:
        """Whether an address is the one that is asked, or a private one of an asker's."""
        return address == self._to or address.startswith(f"{self._bench.address.partition(':')[0]}+")


class WaitingForReceipt:
    """A wait for a receipt: nothing is left of it."""

    name = "wait_receipt_async"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._to = f"answerer-of-{bench.address}"

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        self._id = self._bench.boss.send(self._to, "note", 0).id
        with self._bench.answered():
            yield

    async def run(self) -> None:
        await self._bench.bus.wait_receipt_async(self._id, "acked", timeout_s=20)

    def faults(self, in_hand: int) -> Iterator[tuple[str, str]]:
        """Tell nothing: descriptors, doorbells and tasks are counted by who cancels."""
        give_up_at = time.monotonic() + _PATIENCE_S
        while self._bench.doorbells.count_waiting(f"*{self._id}"):
            if time.monotonic() > give_up_at:
                yield "broken", f"somebody still waits for the receipt of #{self._id}"
                return
            time.sleep(0.001)


Cancellable = Subscribing | Requesting | WaitingForReceipt


def all_of(bench: Bench) -> list[Cancellable]:
    """Return everything that can be awaited."""
    return [Subscribing(bench, "auto"), Subscribing(bench, "manual"), Requesting(bench), WaitingForReceipt(bench)]


@contextmanager
def _thread(run: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
