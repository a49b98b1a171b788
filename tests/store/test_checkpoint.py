"""Checkpoints: the WAL stays short with any number of writers, and no obstacle harms a send."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raven import BusClient
from raven.store import checkpoint, connection
from raven.store.checkpoint import PAGES, WAL_SIZE_LIMIT
from scripts.harness.deadline import Limit
from tests.support import Foreign, Program, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]

# A message of this size fills a page of its own and parts of the other tables' pages.
BODY = "x" * 4000
# The number of commits that bring the WAL to its limit.
COMMITS = PAGES // 3


def wal_size(db: str) -> int:
    try:
        return os.stat(f"{db}-wal").st_size
    except FileNotFoundError:
        return 0


def test_one_sender_reuses_the_same_wal(connect: Connect, db: str) -> None:
    bus = connect("boss:s")

    sizes = []
    for _ in range(4):
        for _ in range(COMMITS):
            bus.send("worker:s", "note", BODY)
        sizes.append(wal_size(db))

    assert max(sizes) <= WAL_SIZE_LIMIT
    assert sizes[-1] == sizes[-2]


@pytest.mark.slow
def test_the_wal_stays_short_while_several_processes_write(spawn: Spawn, connect: Connect, db: str) -> None:
    bus, each = connect("boss:s"), 12_000
    flooders = [spawn("producer", db, f"flooder-{number}:s", each, "worker:s") for number in range(3)]
    for flooder in flooders:
        flooder.read()

    for flooder in flooders:
        flooder.tell("")
    largest = 0
    while bus.last_id() < 3 * each:
        largest = max(largest, wal_size(db))
        time.sleep(0.01)

    # A send writes three pages at least. With SQLite's own checkpoints nearly all of them stay in the WAL; with
    # raven's, the number depends on the disk's speed.
    assert largest < 3 * each * 3 * 4096 / 2


def test_readers_that_take_turns_do_not_let_the_wal_grow_for_good(
    connect: Connect, spawn: Spawn, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = WAL_SIZE_LIMIT // 10  # a tenth of the work: a busy machine does all of it in time, too
    monkeypatch.setattr(checkpoint, "PAGES", PAGES // 10)
    monkeypatch.setattr(connection, "WAL_SIZE_LIMIT", limit)
    bus = connect("boss:s")
    bus.send("worker:s", "note")
    reader = spawn("busy_reader", db, 3)
    reader.read()
    largest, times_cut = 0, 0

    def send_and_check() -> bool:
        nonlocal largest, times_cut
        bus.send_many([{"to": "worker:s", "type": "note", "body": BODY}] * 10)
        size = wal_size(db)
        times_cut += largest > 2 * limit and size <= limit
        largest = 0 if size <= limit else max(largest, size)
        return times_cut == 2

    wait_until(send_and_check, "two restarts of the WAL", 60)


@pytest.mark.slow
def test_a_reader_that_blocks_checkpoints_slows_no_send_for_long(connect: Connect, foreign: Foreign, db: str) -> None:
    bus = connect("boss:s")
    bus.send("worker:s", "note")
    foreign.execute("BEGIN")
    foreign.value("SELECT count(*) FROM messages")

    spans = []
    for _ in range(2 * COMMITS):
        begin = time.monotonic()
        bus.send("worker:s", "note", BODY)
        spans.append(time.monotonic() - begin)

    # At most two of these commits attempted a checkpoint, and each gave up soon.
    assert sum(span < Limit(0.04) for span in spans) >= len(spans) - 10
    assert wal_size(db) > WAL_SIZE_LIMIT
    foreign.execute("COMMIT")
    for _ in range(2 * COMMITS):
        bus.send("worker:s", "note", BODY)
    assert wal_size(db) <= WAL_SIZE_LIMIT


def test_a_reader_that_arrives_while_the_wal_is_long_blocks_senders_only_briefly(
    connect: Connect, spawn: Spawn, foreign: Foreign, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "PAGES", 10)
    bus, other = connect("boss:s"), Foreign(spawn("external_writer", db))
    bus.send("worker:s", "note")
    foreign.execute("BEGIN")
    foreign.value("SELECT count(*) FROM messages")
    while wal_size(db) < 100 * 10 * 4096:
        bus.send_many([{"to": "worker:s", "type": "note", "body": BODY}] * 50)
    other.execute("BEGIN")
    other.value("SELECT count(*) FROM messages")
    foreign.execute("COMMIT")

    begin = time.monotonic()
    bus.send_many([{"to": "worker:s", "type": "note", "body": BODY}] * 50)

    # Any other sender waits as long, and fails after a busy timeout of 5 s.
    assert time.monotonic() - begin < Limit(2.5)
    other.execute("COMMIT")


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_checkpointed_messages_are_in_the_file_without_its_wal(tmp_path: Path, durability: str) -> None:
    path = tmp_path / "bus.db"
    with BusClient.at("boss:s", str(path), durability=durability) as bus:
        for number in range(2 * COMMITS):
            bus.send("worker:s", "note", [number, BODY])

    assert not wal_size(str(path))
    with BusClient.at("worker:s", str(path)) as bus:
        assert [msg.body[0] for msg in bus.inbox(max=10**6)] == list(range(2 * COMMITS))
    wait_until(lambda: not wal_size(str(path)), "the WAL to be gone with its last user")
