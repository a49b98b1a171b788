"""External writers on a bus in use: VACUUM, checkpoints, other journal modes, and user tables and triggers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from raven import BusClient, BusyError, DatabaseError
from raven.store.database import Store
from tests.loop import taken
from tests.support import NEVER_POLLS_S, Foreign, ForeignError, Program, needs, wait_for_waiting

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]

REWRITES = [
    "VACUUM",
    "REINDEX",
    "ANALYZE",
    "PRAGMA optimize",
    "PRAGMA incremental_vacuum",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA wal_checkpoint(RESTART)",
    "PRAGMA wal_checkpoint(FULL)",
    "PRAGMA wal_autocheckpoint = 1",
]


@pytest.mark.parametrize("statement", REWRITES)
def test_rewriting_the_file_changes_no_message_lease_or_order(
    connect: Connect, foreign: Foreign, statement: str
) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    for number in range(30):
        boss.send("worker:s", "note", [number, "x" * 2000], urgency=("fyi", "prompt")[number % 2])
    for message in worker.claim(max=10):
        worker.ack(message.id)
    leased = worker.claim(max=5, lease_s=60)
    worker.prune(0.000001, grace_s=0)
    before = [(msg.id, msg.body, msg.state) for msg in worker.inbox(peek=True)]

    foreign.execute(statement)
    foreign.send("worker:s", "by SQL")
    after = [(msg.id, msg.body, msg.state) for msg in worker.inbox(peek=True)]

    assert [entry for entry in after if entry[1] != "by SQL"] == before
    assert [msg.lease for msg in leased if worker.ack(msg.id) is None] == [leased[0].lease] * 5
    assert len(worker.claim(max=100)) == 16
    assert boss.send("worker:s", "note").id == 32
    assert foreign.value("PRAGMA integrity_check") == "ok"


def test_a_waiting_subscriber_is_woken_after_a_vacuum(db: str, connect: Connect, spawn: Spawn) -> None:
    boss = connect("boss:s")
    listener = spawn("subscriber", db, "worker:s", f'{{"poll_interval_s": {NEVER_POLLS_S}}}')
    wait_for_waiting(db, "worker:s")
    writer = Foreign(spawn("external_writer", db))

    writer.execute("VACUUM")
    boss.send("worker:s", "note", "by raven")
    writer.send("worker:s", "by SQL")

    assert [listener.read()["body"] for _ in range(2)] == ["by raven", "by SQL"]


def test_a_bus_in_use_stays_in_wal_mode_whatever_an_external_program_sets(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note")

    with pytest.raises(ForeignError, match="locked"):
        foreign.execute("PRAGMA journal_mode = DELETE")

    assert bus.send("worker:s", "note").id == 2
    assert foreign.value("PRAGMA journal_mode") == "wal"


def test_opening_a_file_sets_wal_mode_again(db: str, connect: Connect, foreign: Foreign) -> None:
    with BusClient.at("boss:s", db) as boss:
        boss.send("worker:s", "note", "kept")
    assert foreign.value("PRAGMA journal_mode = DELETE") == "delete"

    worker = connect("worker:s")

    assert foreign.value("SELECT count(*) FROM messages") == 1  # it reads the file again
    assert foreign.value("PRAGMA journal_mode") == "wal"
    assert [msg.body for msg in worker.inbox()] == ["kept"]


def test_a_rebuilt_file_with_another_page_size_and_no_auto_vacuum_is_used_and_pruned(db: str, foreign: Foreign) -> None:
    with BusClient.at("boss:s", db) as boss:
        for number in range(100):
            boss.send("worker:s", "note", [number, "x" * 2000])
    for statement in ("journal_mode = DELETE", "auto_vacuum = NONE", "page_size = 8192"):
        foreign.execute(f"PRAGMA {statement}")
    foreign.execute("VACUUM")

    with BusClient.at("worker:s", db) as worker:
        bodies = [msg.body[0] for msg in taken(worker)]
        # The file keeps its free pages: waiting for their removal would never end.
        pruned = worker.prune(0.000001, grace_s=0)

        assert bodies == [*range(100)]
        assert pruned.messages == 99
        assert foreign.value("PRAGMA journal_mode") == "wal"
        assert foreign.value("PRAGMA freelist_count") > 0
        assert worker.send("worker:s", "note").id == 101


def test_a_writer_in_rollback_mode_blocks_raven_for_a_while_and_raises_busy(
    db: str, connect: Connect, foreign: Foreign
) -> None:
    with BusClient.at("boss:s", db) as boss:
        boss.send("worker:s", "note", "kept")
    foreign.execute("PRAGMA journal_mode = DELETE")
    foreign.execute("BEGIN IMMEDIATE")

    with pytest.raises(BusyError):
        BusClient.at("worker:s", db, busy_timeout_s=0.2)
    foreign.execute("COMMIT")

    assert [msg.body for msg in connect("worker:s").inbox()] == ["kept"]


def test_the_users_own_tables_indexes_and_triggers_do_not_disturb_raven(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    for statement in (
        "CREATE TABLE audit (message INTEGER, at TEXT)",
        "CREATE INDEX my_index ON messages (type, created_at)",
        "CREATE INDEX my_other ON deliveries (state, recipient, urgency)",
        "CREATE VIEW mine AS SELECT * FROM messages JOIN audit ON message = id",
        "CREATE TRIGGER on_message AFTER INSERT ON messages BEGIN"
        " INSERT INTO audit VALUES (new.id, 'now'); DELETE FROM audit WHERE message < new.id - 100; END",
    ):
        foreign.execute(statement)

    sent = [bus.send("worker:s", "note", number) for number in range(3)]
    again = bus.send("worker:s", "note", "once", dedup_key="k")
    foreign.send("worker:s", "by SQL")
    ids = [msg.id for msg in taken(bus)]

    assert [msg.id for msg in sent] == [1, 2, 3]
    assert bus.send("worker:s", "note", "twice", dedup_key="k").id == again.id == 4
    assert ids == [1, 2, 3, 4, 5]
    assert foreign.value("SELECT count(*) FROM audit") == 5
    assert bus.prune(0.000001, grace_s=0).messages == 4


def test_a_users_trigger_that_refuses_a_row_raises_a_raven_error_and_stores_nothing(
    connect: Connect, foreign: Foreign
) -> None:
    bus = connect("worker:s")
    foreign.execute(
        "CREATE TRIGGER no_plans BEFORE INSERT ON messages WHEN new.type = 'plan'"
        " BEGIN SELECT RAISE(ABORT, 'no plans today'); END"
    )

    with pytest.raises(DatabaseError, match="no plans today"):
        bus.send_many([{"to": "worker:s", "type": "note"}, {"to": "worker:s", "type": "plan"}])

    assert bus.inbox(peek=True) == []
    assert bus.send("worker:s", "note").id == 1


def test_a_subscriber_waits_through_a_long_lock_and_gets_its_mail_afterwards(
    db: str, connect: Connect, spawn: Spawn
) -> None:
    connect("boss:s")
    listener = spawn("subscriber", db, "worker:s", '{"poll_interval_s": 0.05}')
    other = connect("boss:s", busy_timeout_s=0.1)
    wait_for_waiting(db, "worker:s")
    writer = Foreign(spawn("external_writer", db))
    writer.execute("BEGIN IMMEDIATE")
    writer.send("worker:s", "written under the lock")

    # For several of the subscriber's fallback polls.
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        with pytest.raises(BusyError) as caught:
            other.send("worker:s", "note")
        assert caught.value.retryable
    writer.execute("COMMIT")

    assert listener.read()["body"] == "written under the lock"


def test_rows_changed_or_deleted_externally_affect_no_other_address(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    for number in range(5):
        bus.send("worker:s", "note", number)
    (claimed,) = bus.claim()

    foreign.execute("DELETE FROM deliveries WHERE message_id = 1")
    foreign.execute("DELETE FROM messages WHERE id = 2")
    foreign.execute("UPDATE messages SET body = 'not JSON' WHERE id = 3")
    foreign.execute("UPDATE deliveries SET state = 9 WHERE message_id = 4")

    with pytest.raises(LookupError):
        bus.ack(claimed.id)
    assert [msg.body for msg in taken(bus)] == ["not JSON", 4]
    assert bus.send("worker:s", "note", "after").id == 6


@pytest.mark.parametrize("way", ["VACUUM INTO", ".backup"])
def test_a_backup_taken_during_sends_is_a_bus_with_all_earlier_messages(
    db: str, connect: Connect, spawn: Spawn, way: str
) -> None:
    if way == ".backup":
        needs("sqlite3")
    bus = connect("boss:s")
    bus.send_many([{"to": "worker:s", "type": "note", "body": number} for number in range(50)])
    producers = [spawn("producer", db, f"producer-{number}:s", 400, "other:s") for number in range(2)]
    for producer in producers:
        producer.read()
        producer.tell()

    copy = f"{db}.copy"
    if way == ".backup":
        subprocess.run(["sqlite3", db, ".timeout 20000", f".backup {copy}"], check=True, timeout=60)
    else:
        Foreign(spawn("external_writer", db)).execute("VACUUM INTO ?", copy)
    for producer in producers:
        assert producer.read(60) == 2

    with BusClient.at("worker:s", copy) as restored:
        assert [msg.body for msg in taken(restored)] == [*range(50)]
        assert [msg.id for msg in restored.tail(follow=False)] == [*range(1, restored.last_id() + 1)]
    assert Store(copy).pragma("integrity_check") == "ok"
    assert bus.last_id() == 850
