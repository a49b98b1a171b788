"""Count the words of each sentence that arrives, until the producer sends `no-more`."""

from __future__ import annotations

import asyncio
import os

from agreement import CONSUMER, db_path_argument

from raven import BusClient


async def consume(bus: BusClient) -> None:
    words = jobs = 0
    async for msg in bus.subscribe(poll_interval_s=0.5):
        if msg.type == "no-more":
            print(f"#{msg.id} no more: {jobs} of {msg.body['jobs']} jobs done, {words} words in all")
            break
        count = len(msg.body["text"].split())
        words, jobs = words + count, jobs + 1
        print(f"#{msg.id} from process {msg.body['pid']}: {count} words in {msg.body['text']!r}", flush=True)


def main() -> None:
    with BusClient.at(CONSUMER, db_path_argument(__doc__)) as bus:
        print(f"consumer {os.getpid()} waits for jobs", flush=True)
        asyncio.run(consume(bus))


if __name__ == "__main__":
    main()
