"""JetStream: a publisher in this process, and a durable pull consumer in another one, by nats-py."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Self

import nats

from scripts.benchmarks.link.pair import TEXT
from scripts.benchmarks.peers.peer import encode
from scripts.harness.program import Program

SUBJECT, STREAM, CONSUMER = "bench.work", "bench", "worker"
_REPORT_S = 120


class JetStream:
    """A stream in files on the server at `url`; its consumer fetches up to `batch` messages at once, and acks each."""

    def __init__(self, url: str, batch: int = 1) -> None:
        self._url, self._batch = url, batch
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._run: Callable[[Awaitable[Any]], Any]
            self._run = stack.enter_context(asyncio.Runner()).get_loop().run_until_complete
            self._client = self._run(nats.connect(self._url))
            stack.callback(lambda: self._run(self._client.close()))
            self._stream = self._client.jetstream()
            self._run(self._stream.add_stream(name=STREAM, subjects=[SUBJECT]))
            self._consumer = stack.enter_context(Program("benchmarks.link.puller", self._url, self._batch, greets=True))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def send(self) -> int:
        now = time.monotonic_ns()
        self._run(self._stream.publish(SUBJECT, _work(now)))
        return now

    def send_all(self, count: int) -> int:
        return int(self._run(self._send_all(count)))

    async def _send_all(self, count: int) -> int:
        for _ in range(count):
            now = time.monotonic_ns()
            await self._stream.publish_async(SUBJECT, _work(now))
        await self._stream.publish_async_completed()
        return now

    def report(self) -> list[float]:
        self._run(self._stream.publish(SUBJECT, encode("report").encode()))
        latencies_ms: list[float] = json.loads(self._consumer.line(_REPORT_S))
        return latencies_ms


def _work(now: int) -> bytes:
    return encode({"sent_ns": now, "text": TEXT}).encode()
