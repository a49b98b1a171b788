"""Hosts with a bus and a relay each, linked over a real NATS server, for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from raven import BusClient, Message
from scripts.harness.deadline import DEADLINE_S, wait_until
from scripts.harness.linked import Linked


class Realm:
    """Hosts in a folder: of each a bus, a relay as a process, and clients; all end with the test."""

    def __init__(self, folder: Path, url: str, stack: ExitStack) -> None:
        self.folder, self.url = folder, url
        self._stack = stack
        self._ending = threading.Event()

    def db(self, host: str) -> str:
        """Return the path of the bus of a host."""
        (self.folder / host).mkdir(exist_ok=True)
        return str(self.folder / host / "bus.db")

    def link(self, host: str, *options: str, **settings: Any) -> Linked:
        """Start the relay of a host."""
        return self._stack.enter_context(Linked(self.db(host), self.url, host, *options, **settings))

    def bus(self, host: str, address: str, **settings: Any) -> BusClient:
        """Return a client of the bus of a host."""
        return self._stack.enter_context(BusClient.at(address, self.db(host), **settings))

    def worker(self, host: str, address: str) -> Worker:
        """Start a consumer in a thread: a loop that waits at an address, acks, and replies to questions."""
        worker = Worker(self.bus(host, address))
        self._stack.callback(worker.end)
        return worker


class Worker:
    """A consumer that acks each message in its turn, and keeps it; it replies to a message with a reply address."""

    def __init__(self, bus: BusClient) -> None:
        self.bus = bus
        self.taken: list[Message] = []
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_ending:
            for message in self.bus.listen(ack="manual", timeout_s=0.5):
                self.taken.append(message)
                if message.type == "question":
                    self.bus.reply(message.id, "answer", {"answer": message.body})
                self.bus.ack(message.id)
                if self._is_ending:
                    break

    def take(self, count: int, timeout_s: float = DEADLINE_S) -> list[Message]:
        """Wait until so many messages were taken, and return all."""
        wait_until(lambda: len(self.taken) >= count, f"{count} messages, not {len(self.taken)}", timeout_s)
        return self.taken

    def end(self) -> None:
        """End the loop."""
        self._is_ending = True
        self._thread.join(DEADLINE_S)


def take(bus: BusClient, count: int = 1) -> list[Message]:
    """Return the next messages of a client, acked."""
    taken: Iterator[Message] = bus.listen(timeout_s=DEADLINE_S)
    return list(islice(taken, count))


def wait_for_peer(bus: BusClient, address: str) -> None:
    """Wait until an address of another host is known on the bus of a client."""
    wait_until(lambda: any(peer.address == address for peer in bus.peers()), f"{address} is known")
