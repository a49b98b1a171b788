"""A broadcast of 20 kB to a hundred identities, against the same inserts in one apsw transaction."""

from __future__ import annotations

from pathlib import Path

import apsw

from raven import BusClient
from raven.store.sql import SQL
from scripts.benchmarks.interleave import interleave_sides, mean_us
from scripts.benchmarks.metric import Metric, Side, at_most
from scripts.benchmarks.row_count import count_rows
from scripts.benchmarks.send import DELIVERY, MESSAGE, SENDER

_IDENTITIES = [f"worker-{number}:bench" for number in range(100)]
_ALL = "*:bench"
_TEXT = "x" * 20_000


class Floor:
    """One message and a delivery to each, by prepared statements; the body is encoded and the recipients are known."""

    def __init__(self, db: Path) -> None:
        BusClient.at(SENDER, str(db)).close()  # makes the tables
        self._connection = apsw.Connection(str(db))
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._run = self._connection.cursor().execute
        self._message = {**MESSAGE, "to": _ALL, "body": f'{{"text":"{_TEXT}"}}', "created_at": 0}

    def broadcast(self) -> None:
        self._run("BEGIN IMMEDIATE")
        self._run(SQL["insert_message"], self._message)
        delivery = {**DELIVERY, "message_id": self._connection.last_insert_rowid()}
        for ordinal, recipient in enumerate(_IDENTITIES):
            self._run(SQL["insert_delivery"], {**delivery, "ordinal": ordinal, "recipient": recipient})
        self._run("COMMIT")


def run(folder: Path, quick: bool) -> list[Metric]:
    rounds, batch = (8, 50) if quick else (40, 100)
    db, body = folder / "broadcast.db", {"text": _TEXT}
    with BusClient.at(SENDER, str(db)) as bus:
        bus.register(*_IDENTITIES)
        floor = Floor(folder / "floor.db")
        sides = interleave_sides(
            {
                "raven": lambda: mean_us(lambda: bus.send(_ALL, "work", body), batch) / 1000,
                "bare apsw": lambda: mean_us(floor.broadcast, batch) / 1000,
            },
            rounds,
            "ms",
        )
    sent = (rounds + 1) * batch
    bodies, deliveries = (count_rows(str(db), table) / sent for table in ("messages", "deliveries"))
    name = f"broadcast of 20 kB to {len(_IDENTITIES)} identities"
    return [
        Metric.of(name, sides["raven"].values, "ms", at_most(3), tuple(sides.values())),
        Metric.of(
            f"{name}: bodies stored for each",
            [bodies],
            "",
            at_most(1),
            [Side("bodies", "", (bodies,)), Side("deliveries", "", (deliveries,))],
        ),
    ]
