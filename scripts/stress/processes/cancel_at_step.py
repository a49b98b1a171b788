"""Cancel at step: awaits a coroutine, and cancels it at its nth suspension."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any


class CancelAtStep:
    """Awaits a coroutine, and cancels its task at suspension number `at`; the first is 1.

    With `late` it cancels the task after the awaited future is done and before the task resumes, when no code has the
    result yet. `suspensions` counts the suspensions; if there were fewer than `at`, it did not cancel.
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
            # The task adds its own callback after this one, so that the cancellation comes first.
            awaited.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()
