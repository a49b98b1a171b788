"""`raven doctor` and the file: its type, its permissions, and the files beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from raven import BusClient
from raven.doctor import database
from raven.store import filesystem
from raven.store.migrations import APPLICATION_ID
from raven.store.sql import migrations, migrations_after
from tests.cli.shell import Shell
from tests.doctor_process import DoctorProcess, assert_reports, problems, run_checks
from tests.processes import needs_proc
from tests.support import Foreign, Program

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


@pytest.fixture
def bus(connect: Connect, db: str) -> str:
    """Create a bus with mail and without users."""
    with connect("boss:s") as boss:
        boss.send_many([{"to": "worker:s", "type": "job", "body": "x" * 3000} for _ in range(20)])
    return db


def schema_version(db: str) -> int:
    with closing(apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return int(connection.pragma("user_version"))


def set_version(db: str, version: int) -> None:
    with closing(apsw.Connection(db)) as connection:
        connection.pragma("user_version", version)


def test_an_overwritten_file_is_no_bus_until_it_is_restored(bus: str) -> None:
    shutil.copy(bus, f"{bus}.kept")
    Path(bus).write_bytes(b"not a database at all, but some text" * 100)
    overwritten = run_checks(bus)
    shutil.copy(f"{bus}.kept", bus)

    assert_reports(
        overwritten["file"], "fail", f"{bus} is not an SQLite database", "--db or RAVEN_DB", "restore a backup"
    )
    assert not problems(run_checks(bus))


def test_a_file_whose_schema_is_damaged_fails_until_it_is_restored(bus: str) -> None:
    shutil.copy(bus, f"{bus}.kept")
    with open(bus, "r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    damaged = run_checks(bus)
    shutil.copy(f"{bus}.kept", bus)

    assert_reports(damaged["file"], "fail", "is damaged", "restore a backup", ".recover")
    assert not problems(run_checks(bus))


def test_an_empty_file_is_reported_and_stays_empty(db: str, connect: Connect) -> None:
    Path(db).touch(mode=0o600)

    assert_reports(run_checks(db)["file"], "warn", f"{db} is empty", "raven init")
    assert os.stat(db).st_size == 0
    connect("worker:s").close()
    assert not problems(run_checks(db))


def test_the_file_of_a_newer_raven_fails_with_the_advice_to_upgrade(bus: str) -> None:
    set_version(bus, len(migrations()) + 1)
    newer = run_checks(bus)
    set_version(bus, len(migrations()))

    assert_reports(newer["schema"], "fail", f"schema version {len(migrations()) + 1}", "pip install -U raven-bus")
    assert not problems(run_checks(bus))


def test_the_file_of_an_older_raven_is_reported_and_left_unchanged(db: str, connect: Connect) -> None:
    with closing(apsw.Connection(db)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute(f"BEGIN; {migrations_after(0)[0]}; COMMIT").fetchall()
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1")
    os.chmod(db, 0o600)

    older = run_checks(db)

    assert problems(older).keys() == {"schema"}
    assert_reports(older["schema"], "warn", f"version 1 of {len(migrations())}", "upgrades it", "raven stats")
    assert schema_version(db) == 1
    connect("worker:s").close()
    assert not problems(run_checks(db))


def test_an_unwritable_file_is_reported_with_owner_and_mode(bus: str, spawn: Spawn) -> None:
    process = DoctorProcess.without_rights(spawn, bus)
    os.chmod(bus, 0o400)
    read_only = process.run_checks()
    os.chmod(bus, 0o000)
    closed = process.run_checks()
    os.chmod(bus, 0o600)

    assert_reports(read_only["file"], "fail", f"{bus} is user {os.geteuid()}'s with mode 0400", "cannot write", "chmod")
    assert_reports(closed["file"], "fail", f"{bus} is user {os.geteuid()}'s with mode 0000", "cannot read", "chmod")
    assert not problems(process.run_checks())


def test_an_unwritable_wal_is_reported_though_the_file_is_writable(bus: str, spawn: Spawn) -> None:
    process = DoctorProcess.without_rights(spawn, bus)
    os.chmod(bus, 0o400)
    # SQLite gives the files that it creates beside the bus the same mode, and leaves them behind.
    assert "cannot be written" in str(process.open_bus())
    os.chmod(bus, 0o600)

    check = process.run_checks()["file"]

    assert_reports(check, "fail", f"({bus}-", f"is user {os.geteuid()}'s with mode 0400", "cannot write", "chmod")
    for path in (Path(f"{bus}-wal"), Path(f"{bus}-shm")):
        if path.exists():
            path.chmod(0o600)
    assert not problems(process.run_checks())


def test_an_inaccessible_folder_on_the_way_is_named(tmp_path: Path, spawn: Spawn) -> None:
    db = tmp_path / "closed" / "inner" / "bus.db"
    db.parent.mkdir(parents=True)
    BusClient.at("worker:s", str(db)).close()
    process = DoctorProcess.without_rights(spawn, str(db))
    (tmp_path / "closed").chmod(0o600)
    try:
        checks = process.run_checks()
    finally:
        (tmp_path / "closed").chmod(0o700)

    assert_reports(checks["file"], "fail", f"{tmp_path / 'closed'} is user", "mode 0600", "denies access")
    assert not problems(process.run_checks())


@needs_proc
@pytest.mark.process
def test_the_remedy_recovers_a_file_deleted_in_use(bus: str, foreign: Foreign) -> None:
    count = foreign.value("SELECT count(*) FROM messages")
    for suffix in ("", "-wal", "-shm"):
        os.unlink(bus + suffix)

    check = run_checks(bus)["file"]

    assert_reports(
        check, "fail", "there is no bus at", f"pid {foreign.program.pid} ", "still has the deleted file open"
    )
    for step in check.remedy.split("`")[1::2]:
        subprocess.run(step, shell=True, check=True)
    foreign.program.kill()
    os.rename(f"{bus}.saved", bus)
    os.rename(f"{bus}.saved-wal", f"{bus}-wal")
    with BusClient.at("worker:s", bus) as worker:
        assert len(worker.inbox(peek=True)) == count == 20


def test_a_dangling_symlink_is_reported(bus: str, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "gone.db")
    nowhere = run_checks(str(link))
    link.unlink()
    link.symlink_to(bus)

    assert_reports(nowhere["file"], "fail", "gone.db")
    assert not problems(run_checks(str(link)))


@pytest.mark.parametrize("name", ["no/such/folder/bus.db", "loop.db", "nul\0byte.db", "a\nline.db", ""])
def test_an_impossible_path_fails_with_a_clear_finding(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop.db").symlink_to(tmp_path / "loop.db")

    check = run_checks(str(tmp_path / name) if name else str(tmp_path))["file"]

    assert check.verdict == "fail"
    assert check.remedy


def test_a_hard_link_is_reported_with_a_command_that_finds_it(bus: str, tmp_path: Path) -> None:
    os.link(bus, tmp_path / "second.db")

    check = run_checks(bus)["permissions"]

    assert_reports(check, "warn", "2 names (hard links)", "-samefile")
    listing = subprocess.run(["find", tmp_path, "-samefile", bus], capture_output=True, text=True, check=True).stdout
    assert sorted(listing.split()) == [bus, str(tmp_path / "second.db")]
    (tmp_path / "second.db").unlink()
    assert not problems(run_checks(bus))


def test_a_symlink_in_the_place_of_the_wal_fails(bus: str, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    os.symlink(tmp_path / "other", f"{bus}-wal")

    checks = run_checks(bus)

    assert_reports(checks["permissions"], "fail", f"{bus}-wal is a symlink", f"rm {bus}-wal")
    os.unlink(f"{bus}-wal")
    assert not problems(run_checks(bus))


def test_a_wal_that_others_can_read_is_reported_though_they_cannot_read_the_file(bus: str, connect: Connect) -> None:
    os.chmod(bus, 0o644)
    connect("worker:s").send("boss:s", "note")
    os.chmod(bus, 0o600)

    check = run_checks(bus)["permissions"]

    assert_reports(check, "warn", f"{bus}-wal has mode 0644", f"chmod 600 {bus}-wal")
    for path in (f"{bus}-wal", f"{bus}-shm"):
        os.chmod(path, 0o600)
    assert not problems(run_checks(bus))


@pytest.mark.parametrize("mode", [0o777, 0o707])
def test_a_folder_in_which_any_user_can_replace_the_file_is_reported(bus: str, mode: int) -> None:
    folder = Path(bus).parent
    folder.chmod(mode)
    open_to_all = run_checks(bus)
    folder.chmod(0o1777)
    sticky = run_checks(bus)
    folder.chmod(0o700)

    assert_reports(open_to_all["permissions"], "warn", f"{folder} (mode {mode:04o})", f"chmod o-w {folder}")
    assert sticky["permissions"].verdict == "ok"


def test_a_path_with_blanks_is_quoted_in_the_remedy(tmp_path: Path) -> None:
    db = tmp_path / "my $(bus).db"
    BusClient.at("worker:s", str(db)).close()
    db.chmod(0o644)

    check = run_checks(str(db))["permissions"]

    assert_reports(check, "warn", "mode 0644", "chmod 600 ")
    subprocess.run(check.remedy, shell=True, check=True)
    assert run_checks(str(db))["permissions"].verdict == "ok"


def test_names_of_files_are_escaped_on_the_terminal(tmp_path: Path, shell: Shell) -> None:
    evil = tmp_path / "\x1b[2Jevil"
    evil.mkdir()
    (tmp_path / "bus.db").symlink_to(evil / "gone.db")

    printed = shell.run("doctor").stdout

    assert "\x1b[2J" not in printed
    assert "\\x1b[2Jevil" in printed


def test_an_integrity_check_that_takes_too_long_reports_that(bus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_INTEGRITY_S", 0.0)
    with BusClient.at("worker:s", bus) as client:
        client.send_many([{"to": "worker:s", "type": "note", "body": "y" * 500}] * 2000)

    check = run_checks(bus)["integrity"]

    assert check.verdict == "ok"
    assert "too short" in check.found


@pytest.mark.parametrize(
    ("page", "offset", "damage"), [(-1, 8, bytes(reversed(range(32)))), (2, 0, b"\xff" * 4096)], ids=["cells", "a page"]
)
def test_damage_is_quoted_and_stops_no_other_check(bus: str, page: int, offset: int, damage: bytes) -> None:
    with BusClient.at("worker:s", bus) as client:
        client.send_many([{"to": f"worker-{n}:s", "type": "note", "body": n} for n in range(500)])
    spoiled = bytearray(Path(bus).read_bytes())
    start = page % (len(spoiled) // 4096) * 4096 + offset
    spoiled[start : start + len(damage)] = damage
    Path(bus).write_bytes(spoiled)

    assert_reports(run_checks(bus)["integrity"], "fail", "backup")


@pytest.mark.parametrize(
    ("mounts", "verdict", "words"),
    [("1 1 0:1 / / rw - nfs4 host:/x rw\n", "fail", "nfs4"), ("", "warn", "its type is unknown")],
)
def test_a_network_or_unknown_file_system_is_reported(
    bus: str, monkeypatch: pytest.MonkeyPatch, mounts: str, verdict: str, words: str
) -> None:
    monkeypatch.setattr(filesystem, "_mount_table", lambda: mounts)

    assert_reports(run_checks(bus)["file system"], verdict, words)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("suffix", ["", "-wal", "-journal", "-lock"])
def test_a_file_of_another_user_fails_with_the_owner_and_the_remedy(bus: str, suffix: str) -> None:
    Path(bus + suffix).touch(0o600)
    os.chown(bus + suffix, 12345, 12345)

    check = run_checks(bus)["file"]
    assert_reports(check, "fail", f"{bus}{suffix} belongs to user 12345", "remove it", "RAVEN_TRUSTED_UIDS=12345")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_reported(bus: str) -> None:
    os.chown(os.path.dirname(bus), 12345, 12345)

    check = run_checks(bus)["permissions"]
    assert_reports(check, "warn", f"{os.path.dirname(bus)} belongs to user 12345: that user can replace files in it")


def test_a_bus_that_a_group_shares_is_no_problem_if_its_users_are_trusted(
    bus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chmod(bus, 0o660)
    assert_reports(run_checks(bus)["file"], "fail", "mode 0660", "chmod go-w", "or set RAVEN_TRUSTED_UIDS to the users")

    monkeypatch.setenv("RAVEN_TRUSTED_UIDS", "12345")
    checks = run_checks(bus)
    assert not problems(checks)
    assert checks["permissions"].found == "mode 0660, this user and its group can open it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to another user")
def test_a_link_of_another_user_fails_with_the_owner(bus: str, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(bus)
    os.chown(link, 12345, 12345, follow_symlinks=False)

    assert_reports(run_checks(str(link))["file"], "fail", f"{link} belongs to user 12345", "remove it")
