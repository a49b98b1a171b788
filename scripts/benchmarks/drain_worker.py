"""A consumer process: takes messages until the first stop message, and prints a DrainResult as JSON.

usage: python -m scripts.benchmarks.drain_worker subscribe|listen DB ADDRESS
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field

import watchfiles  # noqa: F401 raven would import it in a thread during the first messages

from raven import BusClient, Message
from scripts.benchmarks.process_group import wait_for_start

STOP = "stop"
_DEADLINE_S = 240


@dataclass
class DrainResult:
    """The ids that a process took, and the times of the first and the last one by the monotonic clock of the host."""

    first_s: float = math.inf
    last_s: float = -math.inf
    ids: list[int] = field(default_factory=list)

    def record(self, message: Message) -> bool:
        """Record a message; returns False for a stop message."""
        if message.type == STOP:
            return False
        self.last_s = time.monotonic()
        self.first_s = min(self.first_s, self.last_s)
        self.ids.append(message.id)
        return True


def main(method: str, db: str, address: str) -> None:
    result = DrainResult()
    with BusClient.at(address, db) as bus:
        if method == "subscribe":
            asyncio.run(_subscribe(bus, result))
        else:
            wait_for_start()
            for message in bus.listen(timeout_s=_DEADLINE_S):
                if not result.record(message):
                    break
    print(json.dumps(asdict(result)))


async def _subscribe(bus: BusClient, result: DrainResult) -> None:
    wait_for_start()
    async for message in bus.subscribe(timeout_s=_DEADLINE_S):
        if not result.record(message):
            break


if __name__ == "__main__":
    main(*sys.argv[1:])
