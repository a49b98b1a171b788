"""Hosts of a link as tests have them: connected to real NATS servers, in one event loop a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from raven.link.pull import Parcel, Pull
from raven.link.server import Event, Server, connect
from raven.link.settings import LinkSettings
from scripts.harness.deadline import DEADLINE_S


class Hosts:
    """Servers as relays have them, one for each host; all events of a host are kept."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.events: dict[str, list[Event]] = {}
        self._changed = asyncio.Event()

    async def connect(self, name: str, *urls: str, **settings: Any) -> Server:
        """Connect a host; its connection ends with the test."""
        events = self.events.setdefault(name, [])

        def note(event: Event) -> None:
            events.append(event)
            self._changed.set()

        server = await connect(LinkSettings(name, urls, realm="lab", **settings), note)
        self._stack.push_async_callback(server.close)
        return server

    async def event(self, name: str, kind: str, count: int = 1) -> Event:
        """Wait for an event of a kind, or for several, and return the last."""
        async with asyncio.timeout(DEADLINE_S):
            while len(found := [event for event in self.events[name] if event.kind == kind]) < count:
                self._changed.clear()
                await self._changed.wait()
        return found[count - 1]

    async def pull(self, server: Server) -> Pull:
        """Pull the mail of a host until the end of the test."""
        pull = Pull(server)
        self._stack.push_async_callback(pull.close)
        return pull


async def take(pull: Pull, count: int, within_s: float = DEADLINE_S) -> list[Parcel]:
    """Return the next parcels, `count` at least, and ack them: see `remains`."""
    taken: list[Parcel] = []
    async with asyncio.timeout(within_s):
        while len(taken) < count:
            parcels = await anext(pull)
            await pull.ack(parcels)
            taken += parcels
    return taken


async def remains(server: Server, count: int) -> None:
    """Wait until the stream holds so many messages: acks are put into effect a little later than they are sent."""
    async with asyncio.timeout(DEADLINE_S):
        while (await server.info()).messages != count:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def hosts() -> AsyncIterator[Hosts]:
    """Connect hosts to NATS servers; all connections end with the block."""
    async with AsyncExitStack() as stack:
        yield Hosts(stack)


def run(test: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
    """Run a test that is a coroutine, with the hosts as its first argument, in an event loop of its own."""

    async def bounded() -> None:
        async with asyncio.timeout(4 * DEADLINE_S), hosts() as some:
            try:
                await test(some, *arguments)
            except Exception as error:
                error.add_note(f"events of the hosts: {some.events}")
                raise

    asyncio.run(bounded())
