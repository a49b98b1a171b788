"""Cancel cases: all that a program can await of raven, over the file or a socket, and the checks after a cancellation.

Each runs while messages arrive one by one and another writer holds the lock now and then. So it is suspended at every
point at which it can be.
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
# A request that is cancelled while another process writes cannot be withdrawn: it expires after this time.
_REQUEST_S = 3
# Longer than the server's leases of 30 s: a message that it cannot release, since another process writes, comes then.
_TIMEOUT_S = 45.0


class Bus(Protocol):
    """The methods that BusClient and Client share here."""

    subscribe: Callable[..., Any]
    request_async: Callable[..., Coroutine[Any, Any, Any]]
    wait_receipt_async: Callable[..., Coroutine[Any, Any, Any]]
    ack: Callable[..., None]


class CancelSetup:
    """The bus of the cancelled calls, and clients that send to it and receive the remaining messages."""

    def __init__(self, db: str, address: str, bus: Bus) -> None:
        self.address = address
        self.bus = bus
        self.sender = BusClient.at(f"sender-of-{address}", db, busy_timeout_s=30, register=False)
        self.receiver = BusClient.at(address, db, busy_timeout_s=30, register=False)
        self.doorbells = Doorbells(self.sender.db_path)
        self._other = BusClient.at(f"other-of-{address}", db, busy_timeout_s=30, register=False)

    @contextmanager
    def sending(self) -> Iterator[list[int]]:
        """Send messages in the background, with a transaction of another client between two; yields the ids."""
        sent: list[int] = []

        def send() -> None:
            for number in range(_MESSAGES):
                sent.append(self.sender.send(self.address, "cancel", number).id)
                time.sleep(_GAP_S)
                with self._other.transaction() as tx:
                    tx.send(f"unread-{self.address}", "nothing", expires_in_s=0.001)
                    time.sleep(_HOLD_S)

        with _thread(send):
            yield sent

    @contextmanager
    def replying(self) -> Iterator[None]:
        """Reply in the background to the requests to `replier-of-<address>`, and ack them."""
        stop = threading.Event()
        replier = BusClient.at(f"replier-of-{self.address}", self.sender.db_path, busy_timeout_s=30, register=False)

        def answer() -> None:
            while not stop.is_set():
                for msg in replier.claim(max=10):
                    stop.wait(_GAP_S)
                    with suppress(RavenError):  # withdrawn meanwhile
                        replier.reply(msg, "answer", msg.body)
                    replier.ack(msg.id)
                stop.wait(_GAP_S)

        with _thread(answer):
            try:
                yield
            finally:
                stop.set()
        replier.close()

    def drain(self, expected: set[int], missing: int = 0) -> list[int]:
        """Receive the remaining messages until all of `expected` but `missing` have come, or a timeout.

        Returns their ids. These include messages of earlier rounds, which do not count as expected.
        """
        left: list[int] = []
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            for msg in self.receiver.claim(max=100):
                self.receiver.ack(msg.id)
                left.append(msg.id)
            if len(expected.difference(left)) <= missing or time.monotonic() > deadline:
                return left
            time.sleep(0.001)

    def close(self) -> None:
        """Close the clients."""
        for client in (self.sender, self.receiver, self._other):
            client.close()


class SubscribeCase:
    """A loop of `subscribe`: it must release undelivered messages, and with manual acks the unacked ones."""

    def __init__(self, setup: CancelSetup, ack: str) -> None:
        self._setup = setup
        self._ack = ack
        self.name = f"subscribe, {ack} acks"
        self._finished: list[int] = []

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        self._finished = []
        with self._setup.sending() as self._sent:
            yield

    async def run(self) -> None:
        count = 0
        async for msg in self._setup.bus.subscribe(ack=self._ack, poll_interval_s=0.05, max_per_poll=4):
            count += 1
            if self._ack == "auto":
                self._finished.append(msg.id)
            elif msg.id % 2 or msg.attempts > 1:
                self._setup.bus.ack(msg.id)
                self._finished.append(msg.id)
            else:
                self._setup.bus.nack(msg.id)  # type: ignore[attr-defined]
            if len(self._finished) == _MESSAGES:
                break

    def faults(self, in_flight: int) -> Iterator[tuple[str, str]]:
        """Yield an error if more than `in_flight` messages are lost, or if one came twice."""
        received = self._finished + self._setup.drain(set(self._sent).difference(self._finished), in_flight)
        lost = set(self._sent) - set(received)
        if len(lost) > in_flight:
            states = ", ".join(f"#{id} {self._setup.sender.receipts(id)[0].state}" for id in sorted(lost))
            name = f"{self.name}, at {self._setup.address}"
            yield "lost", f"{name}: of {len(self._sent)} messages these did not come within {_TIMEOUT_S:g} s: {states}"
        if len(received) > len(set(received)):
            yield "duplicated", f"{self.name}: {sorted(received)}"


class RequestCase:
    """A request: it must leave nothing, and no recipient may get it afterwards."""

    name = "request_async"

    def __init__(self, setup: CancelSetup) -> None:
        self._setup = setup
        self._to = f"replier-of-{setup.address}"

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        with self._setup.replying(), self._setup.sending():
            yield

    async def run(self) -> None:
        for number in range(2):
            answer = await self._setup.bus.request_async(self._to, "question", number, timeout_s=_REQUEST_S)
            assert answer.body == number

    def faults(self, in_flight: int) -> Iterator[tuple[str, str]]:
        """Yield an error if a recipient could still get a request, or a reply to one, after the timeout."""
        deadline = time.monotonic() + _TIMEOUT_S
        while left := [
            peer.address for peer in self._setup.sender.peers() if peer.pending and self._is_ours(peer.address)
        ]:
            if time.monotonic() > deadline:
                yield "broken", f"messages of a cancelled request are still pending: {left}"
                break
            time.sleep(0.005)
        self._setup.drain(set())

    def _is_ours(self, address: str) -> bool:
        """Whether an address is the recipient of the requests, or a private reply address of their sender."""
        return address == self._to or address.startswith(f"{self._setup.address.partition(':')[0]}+")


class ReceiptCase:
    """A wait for a receipt: it must leave nothing."""

    name = "wait_receipt_async"

    def __init__(self, setup: CancelSetup) -> None:
        self._setup = setup
        self._to = f"replier-of-{setup.address}"

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        self._id = self._setup.sender.send(self._to, "note", 0).id
        with self._setup.replying():
            yield

    async def run(self) -> None:
        await self._setup.bus.wait_receipt_async(self._id, "acked", timeout_s=20)

    def faults(self, in_flight: int) -> Iterator[tuple[str, str]]:
        """Yield an error if a doorbell remains; the canceller counts descriptors and tasks."""
        deadline = time.monotonic() + _TIMEOUT_S
        while self._setup.doorbells.count_waiting(f"*{self._id}"):
            if time.monotonic() > deadline:
                yield "broken", f"a doorbell still waits for the receipt of #{self._id}"
                return
            time.sleep(0.001)


CancelCase = SubscribeCase | RequestCase | ReceiptCase


def all_cases(setup: CancelSetup) -> list[CancelCase]:
    """Return all cases."""
    return [SubscribeCase(setup, "auto"), SubscribeCase(setup, "manual"), RequestCase(setup), ReceiptCase(setup)]


@contextmanager
def _thread(run: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
