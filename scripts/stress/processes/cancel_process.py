"""Cancel what can be awaited of raven, at every suspension: `... canceller DB SOCKET SEED SECONDS ADDRESS [NAME]`.

First at the first, the second, ... suspension, until it completes, each before and after what it waits for is there;
then, while there are seconds left, at random moments. Without a socket (an empty one) over the file. Only what is
called NAME, where that is given.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from raven import BusClient
from raven_rpc import Client
from scripts.stress.processes.cancel_at_step import Stepped
from scripts.stress.processes.cancel_cases import Bench, Cancellable, all_of
from scripts.stress.report import Report

_MOST_STEPS = 200
_LEAK_PATIENCE_S = 20.0
_LONGEST_S = 0.03
# SQLite keeps the descriptor of a connection that is closed beside another, and takes it for the next one: those of the
# watch and of the renewal. One that is lost at each cancellation is soon more.
_KEPT = 2


class Canceller:
    """Cancels one thing after another, and looks each time whether something is lost or left behind."""

    def __init__(self, bench: Bench, in_hand: int, report: Report) -> None:
        self._bench = bench
        self._in_hand = in_hand
        self._report = report
        self._before = 0

    async def at_every_step(self, what: Cancellable) -> None:
        """Cancel at each suspension in turn, until it completes."""
        await self._warm_up(what)
        for late in (False, True):
            for at in range(1, _MOST_STEPS):
                stepped: Stepped | None = None

                async def run(at: int = at, late: bool = late) -> None:
                    nonlocal stepped
                    stepped = Stepped(what.run(), at, late=late)
                    await stepped

                await self._once(what, run, f"at step {at}{', late' if late else ''}")
                assert stepped is not None
                if stepped.suspensions < at:
                    break
            else:
                self._report.report("broken", f"{what.name} does not complete within {_MOST_STEPS} steps")

    async def at_random(self, what: Cancellable, chance: random.Random) -> None:
        """Cancel at a random moment, by the task or by a timeout."""
        moment = chance.random() * _LONGEST_S

        async def run() -> None:
            if chance.random() < 0.5:
                async with asyncio.timeout(moment):
                    await what.run()
            else:
                task = asyncio.ensure_future(what.run())
                asyncio.get_running_loop().call_later(moment, task.cancel)
                await task

        await self._once(what, run, f"after {moment * 1000:.1f} ms")

    async def _once(self, what: Cancellable, run: Callable[[], Awaitable[Any]], when: str) -> None:
        with what.surroundings():
            task = asyncio.ensure_future(_awaited(run))
            done, _ = await asyncio.wait([task], timeout=_LEAK_PATIENCE_S)
            if not done:
                self._report.report("broken", f"{what.name}, cancelled {when}, goes on")
                task.cancel()
                return
            if task.cancelled() or isinstance(task.exception(), TimeoutError):
                self._report.count("cancellations")
            elif (error := task.exception()) is not None:
                self._report.report("broken", f"{what.name}, cancelled {when}: {type(error).__name__}: {error}")
        for kind, fault in what.faults(self._in_hand):
            self._report.report(kind, f"{fault}, cancelled {when}")
        await self._look_for_leaks(f"{what.name}, cancelled {when}")

    async def _warm_up(self, what: Cancellable) -> None:
        """Let what is opened once and kept be opened."""
        for _ in range(2):
            with what.surroundings():
                await what.run()
            for _ in what.faults(0):
                pass
        await asyncio.sleep(0.1)
        self._before = _descriptors()

    async def _look_for_leaks(self, where: str) -> None:
        give_up_at = time.monotonic() + _LEAK_PATIENCE_S
        while left := self._left():
            if time.monotonic() > give_up_at:
                self._report.report("broken", f"{where}: left behind: {left}")
                return
            await asyncio.sleep(0.002)

    def _left(self) -> list[str]:
        left = [f"the task {task.get_name()}" for task in asyncio.all_tasks() - {asyncio.current_task()}]
        left += [f"the thread {one.name}" for one in threading.enumerate() if one.name.startswith("raven")]
        if waiting := self._bench.doorbells.count_waiting(self._bench.address):
            left.append(f"{waiting} doorbells")
        if (now := _descriptors()) > self._before + _KEPT:
            left.append(f"{now - self._before} descriptors")
        return left


async def _awaited(run: Callable[[], Awaitable[Any]]) -> None:
    await run()


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))


async def cancel_all(bench: Bench, in_hand: int, seed: int, seconds: float, name: str | None, report: Report) -> None:
    """Cancel each once at every step, and then any at random."""
    chance = random.Random(seed)
    give_up_at = time.monotonic() + seconds
    chosen = [what for what in all_of(bench) if name in (None, what.name)]
    canceller = Canceller(bench, in_hand, report)
    for what in chosen:
        await canceller.at_every_step(what)
    while time.monotonic() < give_up_at:
        await canceller.at_random(chance.choice(chosen), chance)


def main() -> None:
    db, socket, seed, seconds, address, *names = sys.argv[1:]
    report = Report()
    bus: Any = Client(socket, address) if socket else BusClient.at(address, db, register=False)
    bench = Bench(db, address, bus)
    # What was acked over the socket may be on its way when it is cancelled: that is the one in hand.
    asyncio.run(cancel_all(bench, 1 if socket else 0, int(seed), float(seconds), names[0] if names else None, report))
    bench.close()
    bus.close()
    report.print()


if __name__ == "__main__":
    main()
