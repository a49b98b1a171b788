"""A backup restored into a bus in use, and its files moved, linked or deleted by other programs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raven import BusClient, FileMissingError, NotABusError
from raven.host.bus import HostedBus
from raven.store.database import Store
from tests.support import DEADLINE_S, Foreign, Program, needs

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
Spawn = Callable[..., Program]


def restore(db: str, copy: str) -> None:
    """Restore a backup into a bus in use, with the `sqlite3` program."""
    subprocess.run(["sqlite3", db, ".timeout 20000", f".restore {copy}"], check=True, timeout=60)


def killed_sender(db: str, spawn: Spawn, count: int) -> None:
    """Let a lone process send this many messages, and kill it, so that all are in the WAL."""
    sender = spawn("actor", db, "boss:s")
    for number in range(count):
        assert sender.ask(["send", ["worker:s", "note", number], {}])["result"]["id"] == number + 1
    sender.kill()
    assert os.stat(f"{db}-wal").st_size


def test_all_clients_continue_with_a_backup_restored_into_a_bus_in_use(db: str, connect: Connect, spawn: Spawn) -> None:
    needs("sqlite3")
    boss = connect("boss:s")
    boss.send("worker:s", "note", "in the backup")
    copy = f"{db}.copy"
    subprocess.run(["sqlite3", db, f".backup {copy}"], check=True, timeout=60)
    listener = spawn("subscriber", db, "worker:s", '{"poll_interval_s": 0.2}')
    assert listener.read()["body"] == "in the backup"
    for number in range(3):
        boss.send("worker:s", "note", number)
        assert listener.read()["body"] == number

    restore(db, copy)

    # The bus has the state of the backup: messages acked since then come again.
    assert listener.read()["body"] == "in the backup"
    assert boss.send("worker:s", "note", "after").id == 2
    assert listener.read()["body"] == "after"
    writer = Foreign(spawn("external_writer", db))
    writer.send("worker:s", "by SQL")
    assert listener.read()["body"] == "by SQL"
    assert writer.value("PRAGMA journal_mode") == "wal"
    assert Store(db).pragma("integrity_check") == "ok"


def test_a_tail_starts_again_when_a_backup_is_restored(db: str, hosted: Hosted) -> None:
    needs("sqlite3")
    boss = hosted("boss:s")
    boss.send("worker:s", "note", "in the backup")
    subprocess.run(["sqlite3", db, f".backup {db}.copy"], check=True, timeout=60)
    for number in range(5):
        boss.send("worker:s", "note", number)
    log = boss.log()
    assert len(log.page()) == 6

    restore(db, f"{db}.copy")
    assert [msg.body for msg in log.page()] == ["in the backup"]
    boss.send("worker:s", "note", "after")

    assert [(msg.id, msg.body) for msg in log.page()] == [(2, "after")]
    assert log.page() == []


def test_a_tail_position_beyond_the_end_of_the_log_is_kept_until_it_is_reached(hosted: Hosted) -> None:
    boss = hosted("boss:s")
    log = boss.log(from_id=4)

    pages = []
    for number in range(1, 6):
        boss.send("worker:s", "note", number)
        pages.append([msg.body for msg in log.page()])

    assert pages == [[], [], [], [4], [5]]


def test_a_moved_file_with_a_symlink_in_its_place_is_refused_until_it_is_back(db: str, connect: Connect) -> None:
    # SQLite would use a second WAL next to the symlink's target; the two would not know of each other.
    bus = connect("worker:s")
    bus.send("worker:s", "note", "before")
    os.rename(db, f"{db}.moved")
    os.symlink(f"{db}.moved", db)

    for call in (lambda: bus.send("worker:s", "note", "lost"), bus.inbox):
        with pytest.raises(FileMissingError, match=r"was replaced by a symlink while in use: put the file back"):
            call()
    os.unlink(db)
    os.rename(f"{db}.moved", db)
    bus.send("worker:s", "note", "after")

    assert [msg.body for msg in bus.inbox()] == ["before", "after"]


def test_a_symlink_to_another_bus_in_the_place_of_a_file_in_use_is_refused(
    db: str, tmp_path: Path, connect: Connect
) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", "mine")
    other = tmp_path / "other.db"
    with BusClient.at("worker:s", str(other)) as another:
        another.send("worker:s", "note", "theirs")
    os.unlink(db)
    os.symlink(other, db)

    with pytest.raises(FileMissingError):
        bus.send("worker:s", "note", "lost")

    # A new client follows the symlink.
    with BusClient.at("worker:s", db) as fresh:
        assert [msg.body for msg in fresh.inbox()] == ["theirs"]


@pytest.mark.parametrize("intruder", ["a folder", "a text", "a link to nothing"])
def test_a_foreign_file_in_the_place_of_a_bus_in_use_raises_and_is_left_alone(
    db: str, tmp_path: Path, connect: Connect, intruder: str
) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", "kept")
    away = tmp_path / "away"
    away.mkdir()
    ends = ("", "-wal", "-shm")
    for end in ends:
        os.rename(db + end, away / f"bus.db{end}")
    if intruder == "a folder":
        os.mkdir(db)
    elif intruder == "a text":
        Path(db).write_text("minutes of the meeting\n" * 300, encoding="utf-8")
    else:
        os.symlink(tmp_path / "nothing", db)

    for call in (lambda: bus.send("worker:s", "note", "lost"), bus.inbox):
        # Each call has its own thread: the first must not keep the client's lock from the second.
        with ThreadPoolExecutor(1) as pool, pytest.raises((NotABusError, FileMissingError)):
            pool.submit(call).result(DEADLINE_S)

    if intruder == "a folder":
        assert os.listdir(db) == []
        os.rmdir(db)
    else:
        os.unlink(db)
    for end in ends:
        os.rename(away / f"bus.db{end}", db + end)
    assert bus.send("worker:s", "note", "after").id == 2
    assert [msg.body for msg in bus.inbox()] == ["kept", "after"]


def test_an_empty_file_in_the_place_of_a_bus_in_use_becomes_a_bus(db: str, connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", "old")
    Path(f"{db}.empty").touch()
    os.replace(f"{db}.empty", db)

    bus.send("worker:s", "note", "new")

    assert [(msg.id, msg.body) for msg in bus.inbox()] == [(1, "new")]
    assert Store(db).pragma("integrity_check") == "ok"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_after_a_kill_a_missing_shm_loses_no_mail_and_a_cut_wal_loses_only_the_latest(
    db: str, connect: Connect, spawn: Spawn, share: float
) -> None:
    connect("worker:s").close()
    killed_sender(db, spawn, 20)
    os.unlink(f"{db}-shm")
    if share:
        os.truncate(f"{db}-wal", int(os.stat(f"{db}-wal").st_size * share))
    else:
        os.unlink(f"{db}-wal")

    worker = connect("worker:s")
    bodies = [msg.body for msg in worker.inbox()]

    assert bodies == [*range(len(bodies))]
    assert (len(bodies) > 0) == (share > 0)
    assert (len(bodies) == 20) == (share == 1)
    assert worker.send("worker:s", "note").id == len(bodies) + 1
    assert Store(db).pragma("integrity_check") == "ok"


def test_many_clients_all_continue_with_the_one_new_file_after_a_replacement(
    db: str, tmp_path: Path, connect: Connect
) -> None:
    clients = [connect(f"client-{number}:s") for number in range(6)]
    with ThreadPoolExecutor(len(clients)) as pool:
        for generation in range(15):
            with BusClient.at("backup:s", str(tmp_path / "new.db")) as new:
                new.send("worker:s", "note", ["restored", generation])
            os.replace(tmp_path / "new.db", db)

            list(pool.map(lambda client: client.send("worker:s", "note", client.address), clients, timeout=DEADLINE_S))

            with BusClient.at("worker:s", db) as worker:
                bodies = [msg.body for msg in worker.inbox()]
            assert bodies[0] == ["restored", generation]
            assert sorted(bodies[1:]) == sorted(client.address for client in clients)
    assert Store(db).pragma("integrity_check") == "ok"
