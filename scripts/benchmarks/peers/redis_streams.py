"""Redis streams: a consumer group on a private server on a Unix socket."""

from __future__ import annotations

import json
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import redis

from scripts.benchmarks.peers.peer import encode
from scripts.benchmarks.peers.server import Server
from scripts.benchmarks.send import BODY

_STREAM, _GROUP, _CONSUMER = "bench", "workers", "worker"


class RedisPeer:
    """Two clients of one server, which stores nothing on disk."""

    steps = "xadd + xreadgroup + xack"
    note = "a server process on a Unix socket, in memory only: its end loses everything"

    def __init__(self, folder: Path) -> None:
        path = folder / "redis.sock"
        arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
        with ExitStack() as stack:
            server = stack.enter_context(Server("redis-server", arguments, folder))
            self._producer, self._consumer = (redis.Redis(unix_socket_path=str(path)) for _ in range(2))
            stack.callback(self._producer.close)
            stack.callback(self._consumer.close)
            server.wait_until(lambda: path.exists() and self._answers())
            self._producer.xgroup_create(_STREAM, _GROUP, mkstream=True)
            self.name = f"Redis {self._producer.info()['redis_version']}, redis-py {version('redis')}"
            self._stack = stack.pop_all()

    def round_trip(self) -> Any:
        self._producer.xadd(_STREAM, {"body": encode(BODY)})
        [(_, [(message_id, fields)])] = self._consumer.xreadgroup(_GROUP, _CONSUMER, {_STREAM: ">"}, count=1)
        body = json.loads(fields[b"body"])
        self._consumer.xack(_STREAM, _GROUP, message_id)
        return body

    def close(self) -> None:
        self._stack.close()

    def _answers(self) -> bool:
        try:
            return bool(self._producer.ping())
        except redis.ConnectionError:
            return False
