"""A consumer process of JetStream: fetches and acks messages, and on a report message prints their latencies as JSON.

Each message carries `time.monotonic_ns()` from just before it was published. The first line says that it is ready.
usage: python -m scripts.benchmarks.link.puller URL BATCH     BATCH: so many messages are fetched at once, at most
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import nats

from scripts.benchmarks.link.jetstream import CONSUMER, STREAM, SUBJECT

# A fetch of several messages waits so long for the last of them.
_FETCH_S = 0.5


async def main(url: str, batch: int) -> None:
    client = await nats.connect(url)
    pull = await client.jetstream().pull_subscribe(SUBJECT, durable=CONSUMER, stream=STREAM)
    print("ready", flush=True)
    latencies_ms: list[float] = []
    while True:
        try:
            messages = await pull.fetch(batch, timeout=_FETCH_S)
        except TimeoutError:
            continue
        for message in messages:
            body = json.loads(message.data)
            if body == "report":
                print(json.dumps(latencies_ms), flush=True)
                latencies_ms = []
            else:
                latencies_ms.append((time.monotonic_ns() - body["sent_ns"]) / 1e6)
            await message.ack()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
