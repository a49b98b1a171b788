"""litequeue: a queue in one SQLite file, with the sqlite3 of Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import litequeue

from scripts.benchmarks.peers.peer import encode
from scripts.benchmarks.send import BODY


class LiteQueuePeer:
    """Two queues on one file, in WAL mode with synchronous=NORMAL, as litequeue sets by itself."""

    name = f"litequeue {litequeue.__version__}"
    steps = "put + pop + done"
    note = "one queue per file, without addresses; a popped item that is never done stays locked"

    def __init__(self, folder: Path) -> None:
        self._producer, self._consumer = (litequeue.LiteQueue(folder / "queue.db") for _ in range(2))

    def round_trip(self) -> Any:
        self._producer.put(encode(BODY))
        message = self._consumer.pop()
        body = json.loads(message.data)
        self._consumer.done(message.message_id)
        return body

    def close(self) -> None:
        self._producer.close()
        self._consumer.close()
