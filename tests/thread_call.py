"""Calls that wait for something, in threads, blocking or in an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from raven import Message, Receipt
from tests.support import DEADLINE_S


class Asking:
    """A call in a thread: its result or its exception."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: Exception | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def outcome(self) -> Any:
        """Return its value or its error once it is there."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "it has not ended"
        return self.error or self.value

    def _run(self) -> None:
        try:
            self.value = self._call()
        except Exception as error:
            self.error = error


def request(bus: Any, mode: str, *args: Any, **options: Any) -> Message:
    if mode == "blocking":
        return bus.request(*args, **options)  # type: ignore[no-any-return]
    return asyncio.run(bus.request_async(*args, **options))


def wait_receipt(bus: Any, mode: str, *args: Any, **options: Any) -> list[Receipt]:
    if mode == "blocking":
        return bus.wait_receipt(*args, **options)  # type: ignore[no-any-return]
    return asyncio.run(bus.wait_receipt_async(*args, **options))
