"""`send` against its floor, the same inserts in one apsw transaction; one by one, and a hundred in one transaction."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import apsw

from raven import BusClient
from raven.store.checkpoint import PAGES
from raven.store.sql import SQL
from scripts.benchmarks.interleave import interleave_sides, mean_us
from scripts.benchmarks.metric import Metric, at_most

BODY = {"text": "x" * 180}
BODY_TEXT = '{"text":"' + "x" * 180 + '"}'
SENDER, RECIPIENT = "alice:bench", "bob:bench"
_UNSET = dict.fromkeys(
    ("tags", "correlation_id", "reply_to", "task_id", "dedup_key", "expires_at", "reply_address", "report")
)
MESSAGE = {**_UNSET, "sender": SENDER, "to": RECIPIENT, "type": "work", "body": BODY_TEXT, "urgency": 1}
DELIVERY = {"ordinal": 0, "recipient": RECIPIENT, "urgency": 1, "ready_at": 0, "expires_at": None, "max_attempts": 5}
_MANY = 100


def connect(db: Path) -> apsw.Connection:
    """Open a bus file without raven, with the settings of raven except for the checkpoints, which are SQLite's own."""
    connection = apsw.Connection(str(db))
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


class Floor:
    """The same inserts without raven: prepared statements on one cursor, and a body that is already encoded."""

    def __init__(self, db: Path) -> None:
        BusClient.at(SENDER, str(db)).close()  # makes the tables
        self.connection = connect(db)
        self.run = self.connection.cursor().execute

    def send(self) -> None:
        self.run("BEGIN IMMEDIATE")
        self.insert(BODY_TEXT)
        self.run("COMMIT")

    def send_many(self) -> None:
        self.run("BEGIN IMMEDIATE")
        for _ in range(_MANY):
            self.insert(BODY_TEXT)
        self.run("COMMIT")

    def insert(self, body: str) -> int:
        """Add one message and its delivery to the open transaction, and return the message's id."""
        self.run(SQL["insert_message"], {**MESSAGE, "body": body, "created_at": time.time_ns() // 1000})
        message_id = self.connection.last_insert_rowid()
        self.run(SQL["insert_delivery"], {**DELIVERY, "message_id": message_id})
        return message_id


class LeanFloor(Floor):
    """The fastest form in Python: values bound by position, and checkpoints as rare as raven's."""

    def __init__(self, db: Path) -> None:
        super().__init__(db)
        self.connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES}").fetchall()

    def insert(self, body: str) -> int:
        values = (SENDER, RECIPIENT, "work", body, 1, *(None,) * 5, time.time_ns() // 1000, None, None, None)
        self.run(SQL["insert_message"], values)
        message_id = self.connection.last_insert_rowid()
        self.run(SQL["insert_delivery"], (message_id, 0, RECIPIENT, 1, 0, None, 5))
        return message_id


def run(folder: Path, quick: bool) -> list[Metric]:
    # Long batches, so that each side has its share of checkpoints in every round.
    rounds, batch = (8, 1500) if quick else (20, 3000)
    bus, floor, lean = BusClient.at(SENDER, str(folder / "send.db")), Floor(folder / "a.db"), LeanFloor(folder / "b.db")
    raven, plain, least = interleave_sides(
        {
            "raven": lambda: mean_us(lambda: bus.send(RECIPIENT, "work", BODY), batch),
            "bare apsw": lambda: mean_us(floor.send, batch),
            "bare apsw, leanest": lambda: mean_us(lean.send, batch),
        },
        rounds,
        "us",
        notes={
            "bare apsw": "prepared statements, the body already encoded; checkpoints every 1,000 pages, as SQLite does",
            "bare apsw, leanest": f"values bound by position, and checkpoints every {PAGES:,} pages, as raven's",
        },
    ).values()
    return [
        Metric.ratio("send of 200 bytes against the same inserts", raven, plain, at_most(1.35)),
        Metric.ratio("the same against the leanest form of them", raven, least),
    ]


def run_many(folder: Path, quick: bool) -> list[Metric]:
    rounds, batch = (8, 40) if quick else (20, 60)
    bus, floor = BusClient.at(SENDER, str(folder / "send.db")), Floor(folder / "floor.db")
    many: list[dict[str, Any]] = [{"to": RECIPIENT, "type": "work", "body": BODY}] * _MANY
    sides = interleave_sides(
        {
            "raven": lambda: mean_us(lambda: bus.send_many(many), batch),
            "bare apsw": lambda: mean_us(floor.send_many, batch),
        },
        rounds,
        "us",
    )
    return [Metric.ratio("send_many of 100 against the same in one transaction", *sides.values(), at_most(1.5))]
