"""Tasks: an actor that is one of many tasks of an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from typing import Any

from raven import BusClient, InputError, RavenError
from scripts.stress.tasks.actor import Actor, UndoneError
from scripts.stress.tasks.ledger import Block

_LOOP_S = 0.05
_REPLY_TIMEOUT_S = 30.0


class TaskActor(Actor):
    """Makes random calls in a task, and cancels tasks of its own at random moments."""

    async def run(self, end: float) -> None:
        """Act until the moment `end` of the monotonic clock."""
        while time.monotonic() < end:
            action = self.random.choice((*self._actions(), self._cancel, self._cancel, self._use_of_another_task))
            await self._do(action)
            await asyncio.sleep(self.pause_s())

    def _actions(self) -> tuple[Callable[[BusClient], Awaitable[None]], ...]:
        return self.transact, self._send, self._claim, self._subscribe, self._request, self._send_in_thread

    async def _do(self, action: Callable[[BusClient], Awaitable[None]]) -> None:
        try:
            await action(self.a_bus())
        except UndoneError:
            pass
        except Exception as error:
            self.report.report("broken", f"a task raised {error!r}")

    async def transact(self, bus: BusClient) -> None:
        """Make a transaction that awaits inside."""
        with self.block(bus) as block, closing(self.steps(block)) as steps:
            for pause_s in steps:
                await asyncio.sleep(pause_s)

    async def _send(self, bus: BusClient) -> None:
        self.send(bus)

    async def _claim(self, bus: BusClient) -> None:
        self.claim(bus)

    async def _send_in_thread(self, bus: BusClient) -> None:
        def send() -> None:
            with suppress(UndoneError):
                self.send(bus)

        await asyncio.to_thread(send)

    async def _subscribe(self, bus: BusClient) -> None:
        is_auto = self.random.random() < 0.5
        async for message in bus.subscribe(ack="auto" if is_auto else "manual", timeout_s=_LOOP_S, max_per_poll=5):
            self.receive(bus, message, is_acked=is_auto)
            if self.random.random() < 0.1:
                return
            await asyncio.sleep(self.pause_s())

    async def _request(self, bus: BusClient) -> None:
        token = self.token()
        must_refuse = self.ledger.must_refuse(bus)
        self.ledger.sent[token] = 0 if must_refuse else None
        try:
            reply = await bus.request_async(self.oracle, "ask", {"token": token}, timeout_s=_REPLY_TIMEOUT_S)
        except InputError as error:
            self.report.expect(must_refuse, f"a request was refused: {error}")
            raise UndoneError from None
        self.report.expect(not must_refuse, "a request was not refused beside another task's transaction")
        self.report.expect(reply.body == {"token": token}, "a request got the reply to another one")
        self.ledger.sent[token] = reply.reply_to
        self.report.count("requests")

    async def _cancel(self, bus: BusClient) -> None:
        """Cancel another task at a random moment."""
        child = TaskActor(*self.another())
        task = asyncio.create_task(child._do(self.random.choice(child._actions())))
        await asyncio.sleep(self.pause_s())
        self.report.count("cancellations", task.cancel())
        with suppress(asyncio.CancelledError):
            await task

    async def _use_of_another_task(self, bus: BusClient) -> None:
        """Begin a transaction, and let another task use it."""

        async def use(block: Block) -> None:
            try:
                block.tx.send(self.oracle, "note")
            except InputError:
                self.report.count("uses refused of another task's transaction")
            except RavenError as error:
                self.report.report("broken", f"another task's use of a transaction raised {error!r}")
            else:
                self.report.report("broken", "another task has used a transaction")

        with self.block(bus) as block:
            self.send(bus, block)
            await asyncio.create_task(use(block))


def run_tasks(actors: list[TaskActor], end: float) -> None:
    """Run actors in a new event loop until the moment `end`."""

    async def run() -> None:
        await asyncio.gather(*(actor.run(end) for actor in actors))

    asyncio.run(run())


def drop_loop(actor: TaskActor, bus: BusClient) -> list[Any]:
    """Close an event loop whose task is in the middle of a transaction; returns what still refers to the task."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)  # it would print that a pending task is destroyed
    task = loop.create_task(actor._do(lambda _: actor.transact(bus)))
    loop.run_until_complete(asyncio.sleep(actor.pause_s()))
    loop.close()
    return [task]
