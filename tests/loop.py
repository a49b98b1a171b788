"""Loops of messages that a test steps through, of both kinds alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

from raven import BusClient, Message
from tests.support import DEADLINE_S


def taken(bus: Any, **options: Any) -> list[Message]:
    """Take by `listen` until there is no more, however slow the machine is."""
    messages: list[Message] = []
    while now := list(bus.listen(timeout_s=0, **options)):
        messages += now
    return messages


class Loop:
    """A loop of `listen` or `subscribe`, one message at each `next`; an event loop of its own stands between them."""

    def __init__(self, bus: BusClient, mode: str, **options: Any) -> None:
        self._events = asyncio.new_event_loop() if mode == "subscribe" else None
        self._messages: Any = getattr(bus, mode)(**options)
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        try:
            message = self._events.run_until_complete(anext(self._messages)) if self._events else next(self._messages)
        except StopAsyncIteration:
            raise StopIteration from None
        assert isinstance(message, Message)
        return message

    def collect(self) -> list[int]:
        """Let a thread go through the loop, and return the list of ids that it fills, each when it comes."""
        seen: list[int] = []

        def run() -> None:
            for message in self:
                seen.append(message.id)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        return seen

    def close(self) -> None:
        """Leave the loop, once the thread that goes through it has ended; twice is fine."""
        if self._thread is not None:
            self._thread.join(DEADLINE_S)
        self._messages.close()
        if self._events:
            self._events.close()
