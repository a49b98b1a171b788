"""A consumer process: takes messages until one says stop, and prints what it took as JSON.

usage: python -m scripts.benchmarks.drainer subscribe|listen DB ADDRESS
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field

import watchfiles  # noqa: F401 raven imports it in a thread beside the first messages: here, before the start

from raven import BusClient, Message
from scripts.benchmarks.team import wait_for_go

STOP = "stop"
_DEADLINE_S = 240


@dataclass
class Taken:
    """Which messages a process took, and when the first and the last, by the monotonic clock of the host."""

    first_s: float = math.inf
    last_s: float = -math.inf
    ids: list[int] = field(default_factory=list)

    def note(self, message: Message) -> bool:
        """Note one; returns whether more are to come."""
        if message.type == STOP:
            return False
        self.last_s = time.monotonic()
        self.first_s = min(self.first_s, self.last_s)
        self.ids.append(message.id)
        return True


def main(way: str, db: str, address: str) -> None:
    taken = Taken()
    with BusClient.at(address, db) as bus:
        if way == "subscribe":
            asyncio.run(_subscribe(bus, taken))
        else:
            wait_for_go()
            for message in bus.listen(timeout_s=_DEADLINE_S):
                if not taken.note(message):
                    break
    print(json.dumps(asdict(taken)))


async def _subscribe(bus: BusClient, taken: Taken) -> None:
    wait_for_go()
    async for message in bus.subscribe(timeout_s=_DEADLINE_S):
        if not taken.note(message):
            break


if __name__ == "__main__":
    main(*sys.argv[1:])
