"""Loops of the socket's client in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from raven import Message
from raven_rpc import Client
from tests.support import wait_until
from tests.thread_call import Asking


class Taking(Asking):
    """A loop in a thread, with its messages so far and its exception."""

    def __init__(self, bus: Client, mode: str, **options: Any) -> None:
        self.taken: list[Message] = []
        super().__init__(lambda: self._take(getattr(bus, mode)(**options)))

    def ids(self) -> list[int]:
        return [message.id for message in self.taken]

    def wait_for_end(self) -> None:
        wait_until(lambda: not self._thread.is_alive(), "the end of the loop")

    def _take(self, messages: Any) -> None:
        if isinstance(messages, AsyncIterator):
            asyncio.run(self._take_async(messages))
        else:
            for message in messages:
                self.taken.append(message)

    async def _take_async(self, messages: AsyncIterator[Message]) -> None:
        async for message in messages:
            self.taken.append(message)
