"""The file under a running process: deleted, replaced, reached by a symlink, on a full disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from raven import BusClient, BusObserver, DatabaseError
from raven.store.database import Store
from tests.stores import another_file
from tests.support import DEADLINE_S, NEVER_POLLS_S, Program, wait_for_waiting

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


def make_bus(path: Path, *bodies: object) -> Path:
    """Create another bus with mail for worker:s, and close it."""
    with BusClient.at("backup:s", str(path)) as bus:
        bus.send_many([{"to": "worker:s", "type": "note", "body": body} for body in bodies])
    return path


def put_in_place(new: Path, db: str) -> None:
    """Replace a bus file as documented: without the old file's WAL."""
    for end in ("-wal", "-shm", ""):
        os.unlink(db + end)
    os.rename(new, db)


def test_the_old_wal_does_not_overwrite_a_backup_moved_over_the_file_and_the_log_warns(
    db: str, tmp_path: Path, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", "old")
    backup = make_bus(tmp_path / "backup.db", *(f"restored {number}" for number in range(300)))

    os.replace(backup, db)
    with caplog.at_level(logging.WARNING, "raven"):
        bus.send("worker:s", "note", "new")

    bodies = [msg.body for msg in bus.inbox(max=1000)]
    assert bodies == [*(f"restored {number}" for number in range(300)), "new"]
    assert "was replaced while in use" in caplog.text
    assert Store(db).pragma("integrity_check") == "ok"


def test_a_waiting_listener_hears_senders_through_a_new_file(
    db: str, tmp_path: Path, connect: Connect, spawn: Spawn
) -> None:
    listener = spawn("subscriber", db, "worker:s", '{"poll_interval_s": 0.2}')
    wait_for_waiting(db, "worker:s")
    put_in_place(make_bus(tmp_path / "new.db", "restored"), db)

    bodies = [listener.read()["body"]]
    connect("boss:s").send("worker:s", "note", "new")
    bodies.append(listener.read()["body"])

    assert bodies == ["restored", "new"]


def test_a_link_to_the_file_is_the_same_bus(db: str, tmp_path: Path, connect: Connect, spawn: Spawn) -> None:
    bus = connect("worker:s")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "link.db").symlink_to(db)
    listener = spawn("subscriber", folder / "link.db", "worker:s", f'{{"poll_interval_s": {NEVER_POLLS_S}}}')
    wait_for_waiting(db, "worker:s")

    bus.send("worker:s", "note", "through the file")
    assert listener.read()["body"] == "through the file"

    with BusObserver(str(folder / "link.db")) as observer:
        assert observer.db_path == os.path.realpath(db)
        assert [msg.body for msg in observer.tail(follow=False)] == ["through the file"]
    assert os.listdir(folder) == ["link.db"]


def test_a_bus_in_a_linked_folder_is_the_same_bus(db: str, tmp_path: Path, connect: Connect) -> None:
    connect("worker:s").send("worker:s", "note", 1)
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)

    with BusClient.at("worker:s", str(tmp_path / "link" / "bus.db")) as bus:
        assert [msg.body for msg in bus.inbox()] == [1]


def test_a_send_without_space_raises_a_raven_error_and_stores_nothing(db: str, spawn: Spawn) -> None:
    result = spawn("size_limit", db).read()

    assert result["error"] == "DiskFullError"
    assert "file size limit" in result["text"]
    assert result["stored"] == 0
    assert result["id"] == 1


def test_a_read_that_fails_on_a_replaced_file_is_repeated_on_the_new_one(db: str, connect: Connect) -> None:
    bus = connect("boss:s")
    bus.send_many([{"to": "boss:s", "type": "note", "body": "x" * 4000}] * 200)
    bus._store.truncate_wal()
    reader = Store(db)
    os.link(db, f"{db}.old")
    another_file(db)
    os.truncate(f"{db}.old", 8192)

    rows = reader.rows("get_message", {"message_id": 1})

    assert "new" in str(rows)
    assert reader.replaced == 1
    reader.close()


@contextmanager
def undone_since_replaced(bus: BusClient) -> Iterator[None]:
    """Hold a transaction open that fails, because the file is replaced within it."""
    with pytest.raises(DatabaseError, match="was replaced during a transaction"), bus.transaction():
        yield


def test_another_threads_write_after_a_failed_transaction_on_the_old_file_is_in_the_new_file(
    db: str, connect: Connect
) -> None:
    bus = connect("boss:s")
    bus.send("boss:s", "note", "old")

    with ThreadPoolExecutor(2) as others:
        with undone_since_replaced(bus):
            another_file(db)
            sending = others.submit(bus.send, "boss:s", "note", "late")
            beginning = others.submit(committed, bus, "later")
            with pytest.raises(TimeoutError):  # it must write neither into the old file nor beside its WAL
                sending.result(0.2)
        sending.result(DEADLINE_S)
        beginning.result(DEADLINE_S)

    with BusObserver(db) as observer:
        assert [msg.body for msg in observer.tail(follow=False)][:1] == ["new"]
        assert {msg.body for msg in observer.tail(follow=False)} == {"new", "late", "later"}


def committed(bus: BusClient, body: str) -> None:
    with bus.transaction() as tx:
        tx.send("boss:s", "note", body)


def test_another_threads_first_read_during_a_transaction_on_the_old_file_is_of_the_new_file(
    db: str, connect: Connect
) -> None:
    bus = connect("boss:s")
    bus.send_many([{"to": "boss:s", "type": "note", "body": number} for number in range(50)])

    with ThreadPoolExecutor(1) as other:
        with undone_since_replaced(bus):
            another_file(db)
            reading = other.submit(bus.last_id)
        assert reading.result(DEADLINE_S) == 1

    with BusObserver(db) as observer:
        assert [msg.body for msg in observer.tail(follow=False)] == ["new"]
