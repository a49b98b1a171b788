"""honker: queues in one SQLite file, written in Rust."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import honker

from scripts.benchmarks.send import BODY


class HonkerPeer:
    """Two databases on one file, in WAL mode with synchronous=NORMAL, as honker sets by itself."""

    name = f"honker {version('honker')}"
    steps = "enqueue + claim_one + ack"
    note = "an ack deletes the job; checkpoints run every 10,000 pages, not every 1,000"

    def __init__(self, folder: Path) -> None:
        self._databases = [honker.open(str(folder / "honker.db")) for _ in range(2)]
        self._producer, self._consumer = (database.queue("bench") for database in self._databases)

    def round_trip(self) -> Any:
        self._producer.enqueue(BODY)
        job = self._consumer.claim_one("worker")
        body = job.payload
        job.ack()
        return body

    def close(self) -> None:
        for database in self._databases:
            database.close()
