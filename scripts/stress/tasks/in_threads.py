"""Threads: an actor that is a thread, and that gives transactions to other threads to end them."""

from __future__ import annotations

import gc
import threading
import time
import types
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Any

from raven import BusClient
from scripts.harness.deadline import DEADLINE_S
from scripts.stress.tasks.actor import Actor, UndoneError
from scripts.stress.tasks.in_tasks import TaskActor, drop_loop, run_tasks

_LOOP_S = 0.05


class ThreadActor(Actor):
    """Makes random calls in a thread."""

    def run(self, end: float) -> None:
        """Act until the moment `end` of the monotonic clock."""
        actions: tuple[Callable[[BusClient], Any], ...] = (
            self._transact,
            self.send,
            self.claim,
            self._listen,
            self._drop_coroutine,
            self._leave_open,
            self._run_loop,
            self._drop_loop,
        )
        while time.monotonic() < end:
            action = self.random.choice(actions)
            try:
                action(self.a_bus())
            except UndoneError:
                pass
            except Exception as error:
                self.report.report("broken", f"{action.__name__} raised {error!r}")

    def _transact(self, bus: BusClient) -> None:
        with self.block(bus) as block, closing(self.steps(block)) as steps:
            for pause_s in steps:
                time.sleep(pause_s)

    def _listen(self, bus: BusClient) -> None:
        is_auto = self.random.random() < 0.5
        messages = bus.listen(ack="auto" if is_auto else "manual", timeout_s=_LOOP_S, max_per_poll=5)
        for message in messages:
            self.receive(bus, message, is_acked=is_auto)
            if self.random.random() < 0.1:
                break
        assert isinstance(messages, Generator)
        if self.random.random() < 0.5:
            self._run_elsewhere(messages.close)

    def _drop_coroutine(self, bus: BusClient) -> None:
        """Destroy or end a coroutine in another thread, in the middle of its transaction."""

        async def work() -> None:
            with self.block(bus) as block:
                self.send(bus, block)
                await _suspend()

        left = [work()]
        left[0].send(None)
        self.report.count("coroutines ended in another thread")
        self._run_elsewhere(left[0].close if self.random.random() < 0.5 else left.clear)

    def _leave_open(self, bus: BusClient) -> None:
        """Let a thread end in the middle of its transaction; then another thread must be able to write."""
        left: list[Any] = []

        def leave() -> None:
            block = self.block(bus)
            left.append(block)
            with suppress(UndoneError):
                entered = block.__enter__()
                # A later thread may get the same number.
                self.send(bus, entered)
                entered.thread = 0

        self._run_elsewhere(leave)
        self.report.count("threads ended in a transaction")
        if self.random.random() < 0.5:
            self.send(bus)
        left.clear()

    def _run_loop(self, bus: BusClient) -> None:
        """Run tasks in an event loop of this thread."""
        run_tasks([TaskActor(*self.another()) for _ in range(2)], time.monotonic() + _LOOP_S)

    def _drop_loop(self, bus: BusClient) -> None:
        """Close an event loop with a task in the middle of a transaction; then this thread must be able to write."""
        left = drop_loop(TaskActor(*self.another()), bus)
        self.report.count("event loops closed in a transaction")
        if self.random.random() < 0.5:
            self.send(bus)
        left.clear()
        self._run_elsewhere(gc.collect)

    def _run_elsewhere(self, step: Callable[[], Any]) -> None:
        thread = threading.Thread(target=step, daemon=True)
        thread.start()
        thread.join(DEADLINE_S)
        self.report.expect(not thread.is_alive(), f"{step.__name__} in another thread has not ended in time")


@types.coroutine
def _suspend() -> Generator[None, None, None]:
    """Give the control back to the caller of the coroutine's `send`."""
    yield
