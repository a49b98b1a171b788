"""NATS JetStream: a stream in files, and a durable pull consumer, on a private server on the loopback."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nats

from scripts.benchmarks.peers.peer import encode
from scripts.benchmarks.peers.server import Server
from scripts.benchmarks.send import BODY

_STREAM, _SUBJECT, _CONSUMER = "bench", "bench.work", "worker"


class JetStreamPeer:
    """Two connections to one server in one event loop."""

    steps = "publish + fetch + ack_sync"
    note = "a server process on the loopback, with file storage that is synced to disk on a timer only"

    def __init__(self, folder: Path) -> None:
        # The server takes a free port, and writes it into a file.
        arguments = ["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", str(folder)]
        with ExitStack() as stack:
            server = stack.enter_context(
                Server("nats-server", [*arguments, "--jetstream", "--store_dir", str(folder)], folder)
            )
            server.wait_until(lambda: _url(folder) is not None)
            self._run = stack.enter_context(asyncio.Runner()).get_loop().run_until_complete
            self._run(self._connect(str(_url(folder))))
            stack.callback(lambda: self._run(self._disconnect()))
            server_version = self._producer.connected_server_version
            numbers = f"{server_version.major}.{server_version.minor}.{server_version.patch}"
            self.name = f"NATS {numbers}, nats-py {version('nats-py')}"
            self._stack = stack.pop_all()

    def round_trip(self) -> Any:
        return self._run(self._round_trip())

    def close(self) -> None:
        self._stack.close()

    async def _connect(self, url: str) -> None:
        self._producer, self._consumer = await nats.connect(url), await nats.connect(url)
        self._stream = self._producer.jetstream()
        await self._stream.add_stream(name=_STREAM, subjects=[_SUBJECT])
        self._pull = await self._consumer.jetstream().pull_subscribe(_SUBJECT, durable=_CONSUMER, stream=_STREAM)

    async def _round_trip(self) -> Any:
        await self._stream.publish(_SUBJECT, encode(BODY).encode())
        [message] = await self._pull.fetch(1)
        body = json.loads(message.data)
        await message.ack_sync()
        return body

    async def _disconnect(self) -> None:
        # Ctrl-C at a terminal also ends the server.
        with suppress(nats.errors.Error):
            await self._producer.close()
            await self._consumer.close()


def _url(folder: Path) -> str | None:
    """Return the URL of the server, or None until the server has written it."""
    for file in folder.glob("*.ports"):
        try:
            url: str = json.loads(file.read_text(encoding="utf-8"))["nats"][0]
        except ValueError:
            return None
        return url
    return None
