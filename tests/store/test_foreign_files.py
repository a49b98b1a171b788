"""A file of another user is not used as a part of the bus, and the schema of the bus runs nothing outside of SQL."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from raven import BusClient
from raven.errors import ConfigError, DatabaseError
from raven.store.connection import SqliteConnection
from raven.store.database import Store
from scripts.harness.deadline import Limit

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
STRANGER = 3001
COMPANIONS = ("-wal", "-shm", "-journal", "-lock")
SECRET = "the password is hunter2"


def plant(path: str, content: bytes = b"", mode: int = 0o666) -> None:
    """Make a file as another user would."""
    Path(path).write_bytes(content)
    os.chmod(path, mode)
    os.chown(path, STRANGER, STRANGER)


def send(db: str) -> None:
    with BusClient.at("boss:s", db) as bus:
        bus.send("worker:s", "secret", SECRET)


@as_root
@pytest.mark.parametrize("is_there", [False, True], ids=["a new bus", "an old bus"])
@pytest.mark.parametrize("suffix", COMPANIONS)
def test_a_companion_of_another_user_is_refused_with_its_path_and_owner(db: str, suffix: str, is_there: bool) -> None:
    if is_there:
        send(db)
    Path(db + suffix).unlink(missing_ok=True)
    plant(db + suffix)

    with pytest.raises(DatabaseError, match=f"{db}{suffix} belongs to user 3001: remove it, or set RAVEN_TRUSTED_UIDS"):
        BusClient.at("boss:s", db)
    assert SECRET.encode() not in Path(db + suffix).read_bytes()

    os.unlink(db + suffix)
    send(db)


@as_root
def test_a_bus_of_another_user_is_refused_unless_that_user_is_trusted(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    send(db)
    os.chown(db, STRANGER, STRANGER)

    with pytest.raises(DatabaseError, match=f"{db} belongs to user 3001"):
        send(db)
    monkeypatch.setenv("RAVEN_TRUSTED_UIDS", "3001")
    send(db)


@as_root
@pytest.mark.parametrize("place", ["the file", "its folder", "behind a link of one's own"])
def test_a_link_of_another_user_leads_nowhere(db: str, tmp_path: Path, place: str) -> None:
    """Its owner would choose where a bus is made."""
    target = tmp_path / "home"
    target.mkdir()
    link = tmp_path / "link"
    link.symlink_to(target / "planted.db" if place == "the file" else target)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    path = str(link) if place == "the file" else str(link / "planted.db")
    if place == "behind a link of one's own":
        (tmp_path / "mine").symlink_to("link")
        path = str(tmp_path / "mine" / "planted.db")

    with pytest.raises(DatabaseError, match=f"{link} belongs to user 3001"):
        send(path)
    assert list(target.iterdir()) == []

    os.chown(link, 0, 0, follow_symlinks=False)
    send(path)
    assert (target / "planted.db").exists()


def test_an_unknown_user_in_the_setting_is_said_when_the_bus_is_opened(
    db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAVEN_TRUSTED_UIDS", "no-such-user")

    with pytest.raises(ConfigError, match="RAVEN_TRUSTED_UIDS names the unknown user 'no-such-user'"):
        send(db)


@as_root
def test_a_file_of_another_user_that_replaces_the_bus_in_use_is_refused(db: str, tmp_path: Path) -> None:
    with BusClient.at("boss:s", db) as bus:
        bus.send("worker:s", "note", "before")
        other = str(tmp_path / "other.db")
        send(other)
        os.chown(other, STRANGER, STRANGER)
        os.rename(other, db)

        with pytest.raises(DatabaseError, match=f"{db} belongs to user 3001"):
            bus.send("worker:s", "secret", SECRET)


@pytest.mark.parametrize("mode", [0o666, 0o622, 0o602])
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal", "-lock"])
def test_a_file_that_other_users_can_write_is_refused(db: str, suffix: str, mode: int) -> None:
    send(db)
    Path(db + suffix).touch()
    os.chmod(db + suffix, mode)

    with pytest.raises(DatabaseError, match=rf"{db}{suffix} (can be written by|is open to) other users .*: run `chmod"):
        send(db)


@pytest.mark.parametrize("suffix", COMPANIONS)
def test_nothing_but_a_file_counts_as_a_companion(db: str, tmp_path: Path, suffix: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for make in (os.symlink, os.link):
        if make is os.link and suffix == "-lock":  # it is never written
            continue
        make(precious, db + suffix)
        with pytest.raises(DatabaseError, match=rf"{db}{suffix} (is a symlink, not a file|has 2 names)"):
            send(db)
        os.unlink(db + suffix)
    os.mkfifo(db + suffix, 0o600)

    with pytest.raises(DatabaseError, match=f"{db}{suffix} is a FIFO, not a file"):
        send(db)
    assert precious.read_text() == "mine"


class _PlantedBetween(Store):
    """A store that finds another user's WAL in its place after the check."""

    def _make_ready(self, connection: SqliteConnection) -> None:
        os.rename(f"{self.path}-wal", f"{self.path}-moved")
        plant(f"{self.path}-wal")
        super()._make_ready(connection)


@as_root
def test_a_wal_that_comes_after_the_check_is_not_used(db: str) -> None:
    send(db)
    before = Path(db).read_bytes()

    with pytest.raises(DatabaseError, match=f"{db}-wal belongs to user 3001"):
        _PlantedBetween(db)

    assert Path(db).read_bytes() == before
    assert Path(f"{db}-wal").read_bytes() == b""


def test_a_lock_on_the_folder_holds_up_no_opener(db: str, tmp_path: Path) -> None:
    """Any user can lock a folder that it can list."""
    send(db)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        began = time.monotonic()
        for _ in range(3):
            send(db)
        assert time.monotonic() - began < Limit(3)  # before, each waited a second
    finally:
        os.close(descriptor)
    assert os.stat(f"{db}-lock").st_mode & 0o777 == 0o600


def test_a_bus_in_a_group_is_shared_with_the_users_that_are_trusted(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    send(db)
    os.chmod(db, 0o660)
    with pytest.raises(DatabaseError, match="can be written by other users"):
        send(db)

    os.unlink(f"{db}-lock")
    monkeypatch.setenv("RAVEN_TRUSTED_UIDS", "3001")
    send(db)
    assert os.stat(f"{db}-lock").st_mode & 0o777 == 0o660


def with_sqlite(db: str, sql: str) -> list[Any]:
    with closing(apsw.Connection(db)) as connection:
        return connection.execute(sql).fetchall()


def test_a_function_in_the_schema_of_the_file_cannot_leave_sql(db: str) -> None:
    send(db)
    with_sqlite(db, "CREATE TRIGGER evil AFTER INSERT ON messages BEGIN SELECT load_extension('/tmp/evil'); END")

    with pytest.raises(DatabaseError, match=r"unsafe use of load_extension\(\)"):
        send(db)


def test_no_statement_can_write_the_schema_as_a_table(db: str) -> None:
    with closing(Store(db)) as store:
        connection = store.connection
        assert connection is not None
        connection.execute("PRAGMA writable_schema = ON")
        with pytest.raises(apsw.SQLError, match="may not be modified"):
            connection.execute("UPDATE sqlite_schema SET sql = 'x'")


def test_the_views_and_the_outbox_work_without_trust_in_the_schema(db: str) -> None:
    with BusClient.at("worker:s", db) as bus:
        bus.register()
        with closing(apsw.Connection(db)) as connection:
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            insert = "INSERT INTO outbox (sender, recipient, type, body) VALUES ('a:s', '*:s', 'note', '{\"n\": 1}')"
            connection.execute(insert)
            assert connection.execute("SELECT count(*) FROM pending").get == 1
            assert connection.execute("SELECT count(*) FROM log").get == 1
        assert [message.body for message in bus.inbox()] == [{"n": 1}]
        bus.execute(insert)
        assert len(bus.inbox()) == 2
