"""Components: the functions of raven that `send`, `claim` and `ack` call, each measured alone, in microseconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path

from raven.delivery import outbox
from raven.model import body as bodies
from raven.model import clock
from raven.model.message import DELIVERED, Message, MessageRow
from raven.model.new_message import build
from raven.store import file
from raven.store.database import Store
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells, receipt_address
from scripts.benchmarks.interleave import mean_us
from scripts.benchmarks.send import BODY, BODY_TEXT, RECIPIENT, SENDER, LeanFloor

_LIMIT = bodies.DEFAULT_MAX_BYTES


def checks(count: int) -> dict[str, Callable[[], float]]:
    """Return the measurements of the check of a message, and of the encoding of its body alone."""
    return {
        "encode": partial(mean_us, lambda: bodies.encode(BODY, _LIMIT), count),
        "check": partial(mean_us, lambda: build(SENDER, _LIMIT, RECIPIENT, "work", BODY, {}), count),
    }


def blocks(folder: Path, count: int) -> dict[str, Callable[[], float]]:
    """Return the measurements of empty transactions and of the work inside a transaction, with raven and without."""
    store, floor = Store(str(folder / "blocks.db")), LeanFloor(folder / "bare-blocks.db")
    inode = file.inode(store.path)
    message = build(SENDER, _LIMIT, RECIPIENT, "work", BODY, {})
    query = {"recipient": RECIPIENT, "now": clock.now()}

    def empty_block() -> None:
        store.write(lambda tx: None, is_verified=True)

    def empty_transaction() -> None:
        floor.run("BEGIN IMMEDIATE")
        floor.run("COMMIT")

    def store_us() -> float:
        return store.write(lambda tx: mean_us(lambda: outbox.insert(tx, message), count))

    def inserts_us() -> float:
        with floor.connection:
            return mean_us(lambda: floor.insert(BODY_TEXT), count)

    def look_us() -> float:
        return store.write(lambda tx: mean_us(lambda: tx.rows("peek_ready", query), count))

    return {
        "stat": partial(mean_us, lambda: file.is_same(store.path, inode), count),
        "empty block": partial(mean_us, empty_block, count),
        "empty transaction": partial(mean_us, empty_transaction, count),
        "store": store_us,
        "inserts": inserts_us,
        "look": look_us,
    }


def results(folder: Path, count: int) -> dict[str, Callable[[], float]]:
    """Return the measurements of the work after a commit: doorbells without a listener, and returned messages."""
    store = Store(str(folder / "results.db"))
    bells = Doorbells(store.path)
    message = build(SENDER, _LIMIT, RECIPIENT, "work", BODY, {})
    # Many messages with different times, because raven caches the conversion of a time.
    stored = cycle(store.write(lambda tx: [outbox.insert(tx, message) for _ in range(count)]))
    ready = cycle(store.rows("next_ready", {"recipient": RECIPIENT, "now": clock.now(), "max": count}))

    def sent() -> None:
        one = next(stored)
        Message.from_row(one.row, clock.now(), None, {RECIPIENT: False}, value=one.body)

    def got() -> None:
        row, now = MessageRow(*next(ready)), clock.now()
        Message.from_row(row.delivered_row(DELIVERED, now, None), now, lease=1)

    return {
        "bells": partial(mean_us, lambda: bells.ring((RECIPIENT, ALL_TRAFFIC)), count),
        "receipt bell": partial(mean_us, lambda: bells.ring((receipt_address(1),)), count),
        "sent": partial(mean_us, sent, count),
        "got": partial(mean_us, got, count),
    }
