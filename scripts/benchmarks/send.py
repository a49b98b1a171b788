"""`send` against its floor: a loop of the same two inserts, in one apsw transaction each."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import apsw

from raven import BusClient
from raven.statements import SQL
from scripts.benchmarks.result import Result, ratio

_BODY = {"text": "x" * 180}
_BODY_TEXT = '{"text":"' + "x" * 180 + '"}'
_SENDER, RECIPIENT = "alice:bench", "bob:bench"
_NOTHING = dict.fromkeys(
    ("tags", "correlation_id", "reply_to", "task_id", "dedup_key", "expires_at", "reply_address", "report")
)
MESSAGE = {**_NOTHING, "sender": _SENDER, "to": RECIPIENT, "type": "work", "body": _BODY_TEXT, "urgency": 1}
DELIVERY = {"place": 0, "recipient": RECIPIENT, "urgency": 1, "ready_at": 0, "expires_at": None, "max_attempts": 5}


def run(folder: Path, quick: bool) -> list[Result]:
    # Batches so long that each side has its share of checkpoints in every round.
    rounds, batch = (8, 500) if quick else (30, 1000)
    bus = BusClient.at(_SENDER, str(folder / "send.db"))
    BusClient.at(_SENDER, str(folder / "floor.db")).close()
    floor = apsw.Connection(str(folder / "floor.db"))
    floor.execute("PRAGMA synchronous = NORMAL")
    sends, floors = [], []
    for _ in range(rounds):
        sends.append(_time_sends(bus, batch))
        floors.append(_time_floor(floor, batch))
    times = ratio(sends, floors)
    return [
        Result(
            "send, small body, against the same inserts in apsw",
            f"{times:.2f} times ({statistics.median(sends):.0f} us, {statistics.median(floors):.0f} us)",
            "at most 1.6 times",
            times <= 1.6,
        )
    ]


def _time_sends(bus: BusClient, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        bus.send(RECIPIENT, "work", _BODY)
    return (time.perf_counter() - start) / count * 1e6


def _time_floor(connection: apsw.Connection, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(SQL["add_message"], {**MESSAGE, "created_at": time.time_ns() // 1000})
        connection.execute(SQL["add_delivery"], {**DELIVERY, "message_id": connection.last_insert_rowid()})
        connection.execute("COMMIT")
    return (time.perf_counter() - start) / count * 1e6
