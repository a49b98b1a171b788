"""Make short calls of one kind until a line comes: `python -m scripts.stress.starvation.honest DB SOCKET KIND`.

It prints the longest call in seconds, and then its report.
"""

from __future__ import annotations

import asyncio
import select
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from raven import BusClient
from raven_rpc import Client
from scripts.stress.report import Report


class Caller:
    """Makes the calls of one kind, and keeps the longest time of one."""

    def __init__(self, db: str, socket: str) -> None:
        self.db = db
        self.socket = socket
        self.report = Report()
        self.worst_s = 0.0
        self.kinds: dict[str, Callable[[], None]] = {
            "sends": self._send,
            "sends of new clients": self._send_anew,
            "sends of the command line": self._send_by_command,
            "sends over the socket": self._send_over_the_socket,
            "claims and acks": self._claim,
            "messages of an async loop": lambda: asyncio.run(self._subscribe()),
            "async requests": lambda: asyncio.run(self._request()),
        }

    @contextmanager
    def call(self, kind: str) -> Iterator[None]:
        """Measure and count one call; an error is a broken promise."""
        began = time.monotonic()
        try:
            yield
        except Exception as error:
            self.report.report("broken", f"one of the {kind} failed: {error!r}")
        else:
            self.report.count(kind)
        self.worst_s = max(self.worst_s, time.monotonic() - began)

    def _send(self) -> None:
        with BusClient.at("sender:honest", self.db) as bus:
            while not is_told_to_stop():
                with self.call("sends"):
                    bus.send("sink:s", "note")

    def _send_anew(self) -> None:
        while not is_told_to_stop():
            with self.call("sends of new clients"), BusClient.at("new:honest", self.db) as bus:
                bus.send("sink:s", "note")

    def _send_by_command(self) -> None:
        command = [sys.executable, "-m", "raven", "send", "--db", self.db, "--from", "cli:honest", "--to", "sink:s"]
        while not is_told_to_stop():
            with self.call("sends of the command line"):
                subprocess.run([*command, "-t", "note"], check=True, stdout=subprocess.DEVNULL)

    def _send_over_the_socket(self) -> None:
        with Client(self.socket, "socket:honest") as bus:
            while not is_told_to_stop():
                with self.call("sends over the socket"):
                    bus.send("sink:s", "note")

    def _claim(self) -> None:
        with BusClient.at("claimer:honest", self.db) as bus:
            while not is_told_to_stop():
                with self.call("claims and acks"):
                    bus.send(bus.address, "note")
                    for message in bus.claim():
                        bus.ack(message.id)

    async def _subscribe(self) -> None:
        with BusClient.at("loop:honest", self.db) as bus, BusClient.at("feeder:honest", self.db) as feeder:
            messages = bus.subscribe()
            async for _ in turns():
                with self.call("messages of an async loop"):
                    await asyncio.to_thread(feeder.send, bus.address, "note")
                    await anext(messages)
            await messages.aclose()

    async def _request(self) -> None:
        with BusClient.at("asker:honest", self.db) as bus, BusClient.at("oracle:honest", self.db) as oracle:
            answering = asyncio.create_task(answer(oracle))
            async for _ in turns():
                with self.call("async requests"):
                    await bus.request_async(oracle.address, "question", timeout_s=60)
            answering.cancel()


async def answer(oracle: BusClient) -> None:
    async for message in oracle.subscribe():
        await asyncio.to_thread(oracle.reply, message, "answer")


async def turns() -> AsyncIterator[None]:
    """Yield until a line comes."""
    while not is_told_to_stop():
        yield


def is_told_to_stop() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


if __name__ == "__main__":
    caller = Caller(*sys.argv[1:3])
    print("ready", flush=True)
    caller.kinds[sys.argv[3]]()
    print(caller.worst_s)
    caller.report.print()
