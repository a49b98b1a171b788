"""persist-queue: its SQLite queue with acks."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import persistqueue
from persistqueue.serializers import json

from scripts.benchmarks.send import BODY

_CLEARED_EVERY = 100


class PersistQueuePeer:
    """One queue for a producer and a consumer in threads of one process, which is its purpose."""

    name = f"persist-queue {version('persist-queue')}"
    steps = "put + get + ack"
    note = (
        "for threads of one process, with a connection to put and one to get; synchronous=NORMAL set by the benchmark; "
        f"acked items are cleared every {_CLEARED_EVERY} messages, since each get reads past them"
    )

    def __init__(self, folder: Path) -> None:
        self._queue = persistqueue.SQLiteAckQueue(str(folder), multithreading=True, serializer=json)
        # It has no option for this, and would sync the file at every commit. This connection makes all writes.
        self._queue._putter.execute("PRAGMA synchronous = NORMAL")
        self._trips = 0

    def round_trip(self) -> Any:
        self._queue.put(BODY)
        body = self._queue.get(block=False)
        self._queue.ack(body)
        self._trips += 1
        if self._trips % _CLEARED_EVERY == 0:
            self._queue.clear_acked_data(max_delete=_CLEARED_EVERY, keep_latest=0)
        return body

    def close(self) -> None:
        self._queue.close()
