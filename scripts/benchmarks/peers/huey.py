"""huey: the SQLite storage under its task queue, without the tasks."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huey.storage import SqliteStorage

from scripts.benchmarks.peers.peer import encode
from scripts.benchmarks.send import BODY


class HueyPeer:
    """Two storages on one file, in WAL mode as huey has it."""

    name = f"huey {version('huey')}"
    steps = "enqueue + dequeue"
    note = (
        "SqliteStorage, synchronous=NORMAL set by the benchmark; dequeue deletes, so a crash loses the task in flight, "
        "and there is no ack to pay for"
    )

    def __init__(self, folder: Path) -> None:
        self._producer, self._consumer = (SqliteStorage("bench", str(folder / "huey.db")) for _ in range(2))
        for storage in (self._producer, self._consumer):
            # The option of huey accepts only FULL and OFF.
            storage.conn.execute("PRAGMA synchronous = NORMAL")

    def round_trip(self) -> Any:
        self._producer.enqueue(encode(BODY).encode())
        return json.loads(self._consumer.dequeue())

    def close(self) -> None:
        self._producer.close()
        self._consumer.close()
