"""Parts: raven's own functions of which `send`, `claim` and `ack` are made, each by itself, in microseconds."""

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
from scripts.benchmarks.rounds import each_us
from scripts.benchmarks.send import BODY, BODY_TEXT, RECIPIENT, SENDER, LeanFloor

_LIMIT = bodies.DEFAULT_MAX_BYTES


def checks(count: int) -> dict[str, Callable[[], float]]:
    """Return what measures the check of a message, and the encoding of its body alone."""
    return {
        "encode": partial(each_us, lambda: bodies.encode(BODY, _LIMIT), count),
        "check": partial(each_us, lambda: build(SENDER, _LIMIT, RECIPIENT, "work", BODY, {}), count),
    }


def blocks(folder: Path, count: int) -> dict[str, Callable[[], float]]:
    """Return what measures transactions: empty ones, and what is done inside of one, with raven and without."""
    store, floor = Store(str(folder / "blocks.db")), LeanFloor(folder / "bare-blocks.db")
    inode = file.inode(store.path)
    message = build(SENDER, _LIMIT, RECIPIENT, "work", BODY, {})
    query = {"recipient": RECIPIENT, "now": clock.now()}

    def empty_block() -> None:
        with store.write_unverified():
            pass

    def empty_transaction() -> None:
        floor.run("BEGIN IMMEDIATE")
        floor.run("COMMIT")

    def store_us() -> float:
        with store.write() as tx:
            return each_us(lambda: outbox.insert(tx, message), count)

    def inserts_us() -> float:
        with floor.connection:
            return each_us(lambda: floor.insert(BODY_TEXT), count)

    def look_us() -> float:
        with store.write() as tx:
            return each_us(lambda: tx.rows("peek_ready", query), count)

    return {
        "stat": partial(each_us, lambda: file.is_same(store.path, inode), count),
        "empty block": partial(each_us, empty_block, count),
        "empty transaction": partial(each_us, empty_transaction, count),
        "store": store_us,
        "inserts": inserts_us,
        "look": look_us,
    }


def results(folder: Path, count: int) -> dict[str, Callable[[], float]]:
    """Return what measures what comes after a commit: the bells, where nobody waits, and the messages."""
    store = Store(str(folder / "results.db"))
    bells = Doorbells(store.path)
    message = build(SENDER, _LIMIT, RECIPIENT, "work", BODY, {})
    # Many, since their times are told apart: the conversion of one time is remembered.
    with store.write() as tx:
        stored = cycle([outbox.insert(tx, message) for _ in range(count)])
        ready = cycle(tx.rows("next_ready", {"recipient": RECIPIENT, "now": clock.now(), "max": count}))

    def sent() -> None:
        one = next(stored)
        Message.from_row(one.row, clock.now(), None, {RECIPIENT: False}, value=one.body)

    def got() -> None:
        row, now = MessageRow(*next(ready)), clock.now()
        Message.from_row(row.delivered_row(DELIVERED, now, None), now, lease=1)

    return {
        "bells": partial(each_us, lambda: bells.ring((RECIPIENT, ALL_TRAFFIC)), count),
        "receipt bell": partial(each_us, lambda: bells.ring((receipt_address(1),)), count),
        "sent": partial(each_us, sent, count),
        "got": partial(each_us, got, count),
    }
