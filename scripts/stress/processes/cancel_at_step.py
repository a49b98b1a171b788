"""Stepped: a coroutine that is cancelled at one of its suspensions, for every one of them in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any


class Stepped:
    """Awaits a coroutine, and cancels the task that does at its suspension number `at`, the first being 1.

    With `late` the task is cancelled once what it waits for is there, and before it goes on: what it would have got is
    then in nobody's hands. `suspensions` tells how often it was suspended: fewer than `at`, and it was not cancelled.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: int, *, late: bool) -> None:
        self._coroutine = coroutine
        self._at = at
        self._late = late
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._coroutine.__await__()
        step = partial(inner.send, None)
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            self.suspensions += 1
            if self.suspensions == self._at:
                self._cancel(awaited)
            try:
                step = partial(inner.send, (yield awaited))
            except BaseException as error:
                step = partial(inner.throw, error)

    def _cancel(self, awaited: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._late and isinstance(awaited, asyncio.Future):
            # The task adds its own callback after this one.
            awaited.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()
