"""Cancel every awaitable of raven at every suspension: `... cancel_process DB SOCKET SEED SECONDS ADDRESS [NAME]`.

First it cancels at the first suspension, the second, and so on, until the call completes: both before and after the
awaited event. Then, until SECONDS have passed, it cancels at random moments. With an empty SOCKET the calls go over the
file. NAME selects one case.
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
from scripts.stress.processes.cancel_at_step import CancelAtStep
from scripts.stress.processes.cancel_cases import CancelCase, CancelSetup, all_cases
from scripts.stress.report import Report

_MOST_STEPS = 200
_LEAK_TIMEOUT_S = 20.0
_LONGEST_S = 0.03
# SQLite keeps the descriptor of a connection that was closed while another is open, and uses it again: the watcher's
# and the lease renewal's. A leak at each cancellation soon exceeds this.
_KEPT = 2


class Canceller:
    """Cancels calls, and checks each time that no message is lost and that nothing leaks."""

    def __init__(self, setup: CancelSetup, in_flight: int, report: Report) -> None:
        self._setup = setup
        self._in_flight = in_flight
        self._report = report
        self._before = 0

    async def at_every_step(self, case: CancelCase) -> None:
        """Cancel at each suspension in turn, until the call completes."""
        await self._warm_up(case)
        for late in (False, True):
            for at in range(1, _MOST_STEPS):
                cancelled: CancelAtStep | None = None

                async def run(at: int = at, late: bool = late) -> None:
                    nonlocal cancelled
                    cancelled = CancelAtStep(case.run(), at, late=late)
                    await cancelled

                await self._once(case, run, f"at step {at}{', late' if late else ''}")
                assert cancelled is not None
                if cancelled.suspensions < at:
                    break
            else:
                self._report.report("broken", f"{case.name} does not complete within {_MOST_STEPS} steps")

    async def at_random(self, case: CancelCase, rng: random.Random) -> None:
        """Cancel at a random moment, by task.cancel or by a timeout."""
        moment = rng.random() * _LONGEST_S

        async def run() -> None:
            if rng.random() < 0.5:
                async with asyncio.timeout(moment):
                    await case.run()
            else:
                task = asyncio.ensure_future(case.run())
                asyncio.get_running_loop().call_later(moment, task.cancel)
                await task

        await self._once(case, run, f"after {moment * 1000:.1f} ms")

    async def _once(self, case: CancelCase, run: Callable[[], Awaitable[Any]], when: str) -> None:
        with case.surroundings():
            task = asyncio.ensure_future(_awaited(run))
            done, _ = await asyncio.wait([task], timeout=_LEAK_TIMEOUT_S)
            if not done:
                self._report.report("broken", f"{case.name}, cancelled {when}, does not end")
                task.cancel()
                return
            if task.cancelled() or isinstance(task.exception(), TimeoutError):
                self._report.count("cancellations")
            elif (error := task.exception()) is not None:
                self._report.report("broken", f"{case.name}, cancelled {when}: {type(error).__name__}: {error}")
        for kind, fault in case.faults(self._in_flight):
            self._report.report(kind, f"{fault}, cancelled {when}")
        await self._expect_no_leaks(f"{case.name}, cancelled {when}")

    async def _warm_up(self, case: CancelCase) -> None:
        """Open all descriptors that raven keeps open."""
        for _ in range(2):
            with case.surroundings():
                await case.run()
            for _ in case.faults(0):
                pass
        await asyncio.sleep(0.1)
        self._before = _descriptors()

    async def _expect_no_leaks(self, case_name: str) -> None:
        deadline = time.monotonic() + _LEAK_TIMEOUT_S
        while left := self._left():
            if time.monotonic() > deadline:
                self._report.report("broken", f"{case_name}: leaked: {left}")
                return
            await asyncio.sleep(0.002)

    def _left(self) -> list[str]:
        left = [f"the task {task.get_name()}" for task in asyncio.all_tasks() - {asyncio.current_task()}]
        left += [f"the thread {one.name}" for one in threading.enumerate() if one.name.startswith("raven")]
        if waiting := self._setup.doorbells.count_waiting(self._setup.address):
            left.append(f"{waiting} doorbells")
        if (now := _descriptors()) > self._before + _KEPT:
            left.append(f"{now - self._before} descriptors")
        return left


async def _awaited(run: Callable[[], Awaitable[Any]]) -> None:
    await run()


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))


async def cancel_all(
    setup: CancelSetup, in_flight: int, seed: int, seconds: float, name: str | None, report: Report
) -> None:
    """Cancel each case once at every step, and then random cases at random moments."""
    rng = random.Random(seed)
    deadline = time.monotonic() + seconds
    chosen = [case for case in all_cases(setup) if name in (None, case.name)]
    canceller = Canceller(setup, in_flight, report)
    for case in chosen:
        await canceller.at_every_step(case)
    while time.monotonic() < deadline:
        await canceller.at_random(rng.choice(chosen), rng)


def main() -> None:
    db, socket, seed, seconds, address, *names = sys.argv[1:]
    report = Report()
    bus: Any = Client(socket, address) if socket else BusClient.at(address, db, register=False)
    setup = CancelSetup(db, address, bus)
    # Over the socket one message may be acked and still in transit at the cancellation.
    asyncio.run(cancel_all(setup, 1 if socket else 0, int(seed), float(seconds), names[0] if names else None, report))
    setup.close()
    bus.close()
    report.print()


if __name__ == "__main__":
    main()
