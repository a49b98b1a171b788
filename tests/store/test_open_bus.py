"""Opening a bus: creation, refusals, and many processes at once."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raven import (
    BusClient,
    BusObserver,
    ClosedError,
    ConfigError,
    FileMissingError,
    NewerSchemaError,
    NotABusError,
    RavenError,
)
from raven.store.connection import sqlite_version
from raven.store.database import Store
from raven.store.sql import migrations
from tests.support import Foreign, Program

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_the_first_client_creates_a_marked_file_in_wal_mode(db: str, connect: Connect, foreign: Foreign) -> None:
    connect("worker:s")

    assert foreign.value("PRAGMA application_id").to_bytes(4, "big") == b"RAVN"
    assert foreign.value("PRAGMA user_version") == len(migrations())
    assert foreign.value("PRAGMA journal_mode") == "wal"
    assert foreign.value("PRAGMA integrity_check") == "ok"
    assert foreign.value("SELECT value FROM meta WHERE key = 'created_at'").endswith("Z")


def test_the_driver_brings_an_sqlite_without_the_wal_reset_defect() -> None:
    assert sqlite_version() >= (3, 51, 3)


def test_a_second_client_reads_the_first_clients_message(connect: Connect) -> None:
    first = connect("worker:s")
    first.send("worker:s", "note", 1)
    first.close()

    assert [msg.body for msg in connect("worker:s").inbox()] == [1]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_read_the_files_whatever_the_umask(db: str, spawn: Spawn, umask: int) -> None:
    program = spawn("subscriber", db, "worker:s", umask=umask)
    with BusClient.at("boss:s", db) as bus:
        bus.send("worker:s", "note")
    program.read()

    assert [mode(db + end) for end in ("", "-wal", "-shm")] == [0o600] * 3
    assert mode(f"{db}-bells") == 0o700
    assert {mode(str(path)) for path in Path(f"{db}-bells").rglob("*")} <= {0o600, 0o700}


def test_an_empty_file_becomes_a_bus_and_keeps_its_mode(db: str, connect: Connect) -> None:
    Path(db).touch()
    Path(db).chmod(0o640)

    assert connect("worker:s").send("worker:s", "note").id == 1
    assert [mode(db + end) for end in ("", "-wal", "-shm")] == [0o640] * 3


def test_eight_processes_open_new_buses_at_once(tmp_path: Path, spawn: Spawn) -> None:
    buses = [str(tmp_path / f"{number}.db") for number in range(20)]
    programs = [spawn("opener", f"opener-{number}:s", *buses) for number in range(8)]
    for program in programs:
        program.read()
    for program in programs:
        program.tell()
    for program in programs:
        assert program.read() == 2
        program.wait()

    for db in buses:
        with BusClient.at("worker:s", db) as bus:
            assert sorted(msg.body for msg in bus.inbox()) == [f"opener-{number}:s" for number in range(8)]
            assert len(bus.peers("s")) == 9
        assert Store(db).pragma("integrity_check") == "ok"
    # No temporary file is left.
    assert {name.split(".db")[1] for name in os.listdir(tmp_path)} <= {"", "-wal", "-shm", "-turn", "-lock"}


def test_a_newer_file_is_refused_untouched(db: str, connect: Connect, foreign: Foreign) -> None:
    connect("worker:s").close()
    foreign.execute("PRAGMA user_version = 99")

    with pytest.raises(NewerSchemaError, match=r"schema version 99, this raven knows .*upgrade raven"):
        connect("worker:s")
    with pytest.raises(NewerSchemaError, match="upgrade raven"):
        BusObserver(db)
    assert foreign.value("PRAGMA user_version") == 99


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE notes (text)",
        "PRAGMA user_version = 3",
        "PRAGMA application_id = 77",
        "CREATE VIEW one AS SELECT 1",
    ],
)
def test_an_sqlite_database_of_another_program_is_refused_untouched(
    db: str, connect: Connect, spawn: Spawn, script: str
) -> None:
    other = Foreign(spawn("external_writer", db))
    other.execute(script)
    before = Path(db).read_bytes()

    with pytest.raises(NotABusError, match="is an SQLite database of another program"):
        connect("worker:s")
    with pytest.raises(NotABusError):
        BusObserver(db)
    assert Path(db).read_bytes() == before
    assert os.listdir(Path(db).parent) == [Path(db).name]


@pytest.mark.parametrize(
    "content", [b"hello\n", b"x" * 100, b"\x00" * 50 + b"y", b"SQLite format 3", b"garbage" * 5000]
)
def test_a_file_that_is_not_a_database_is_refused_untouched(db: str, connect: Connect, content: bytes) -> None:
    Path(db).write_bytes(content)

    with pytest.raises(NotABusError, match=r"bus\.db is not an SQLite database: choose another path"):
        connect("worker:s")
    assert Path(db).read_bytes() == content
    assert os.listdir(Path(db).parent) == [Path(db).name]


@pytest.mark.parametrize(
    ("path", "error", "reason"),
    [
        ("", NotABusError, "{} is a folder: name a file in it"),
        ("missing/bus.db", FileMissingError, "the folder {}/missing of the bus .* does not exist"),
        ("file/bus.db", FileMissingError, "does not exist"),
    ],
)
def test_an_impossible_path_is_refused_and_nothing_is_created(
    tmp_path: Path, path: str, error: type[RavenError], reason: str
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(error, match=reason.format(tmp_path)):
        BusClient("s", "worker", str(tmp_path / path))
    assert os.listdir(tmp_path) == ["file"]


def test_an_observer_creates_no_file(db: str, tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"there is no bus at .*: run `raven init`"):
        BusObserver(db)
    assert os.listdir(tmp_path) == []


def test_a_path_like_object_is_accepted(tmp_path: Path) -> None:
    with BusClient("s", "worker", tmp_path / "bus.db") as bus:  # type: ignore[arg-type]
        assert bus.db_path == str((tmp_path / "bus.db").resolve())


def test_without_a_path_the_environment_names_the_bus(db: str, tmp_path: Path) -> None:
    program = "from raven import BusClient; print(BusClient('s', 'worker').db_path)"
    environment = {**os.environ, "RAVEN_DB": db}

    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, check=True
    )

    assert done.stdout.decode().strip() == os.path.realpath(db)


@pytest.mark.parametrize("option", [{"busy_timeout_s": -1}, {"busy_timeout_s": 3601}, {"busy_timeout_s": float("nan")},
                                    {"durability": "max"}, {"max_body_bytes": 0}, {"max_body_bytes": "1"}])  # fmt: skip
def test_a_bad_option_is_refused_with_its_name_and_value(db: str, option: dict[str, object]) -> None:
    ((name, value),) = option.items()

    with pytest.raises(ConfigError, match=f"{name} {value!r}"):
        BusClient("s", "worker", db, **option)  # type: ignore[arg-type]


@pytest.mark.parametrize("call", ["send", "inbox", "peers", "last_id", "listen", "ack", "read", "history", "execute"])
def test_a_closed_client_raises_closed_error(connect: Connect, call: str) -> None:
    bus = connect("worker:s")
    bus.close()
    bus.close()  # closing twice is allowed
    needed: dict[str, list[object]] = {
        "send": ["worker:s", "note"], "ack": [1], "read": [1], "history": ["c"], "execute": ["SELECT 1"],
    }  # fmt: skip
    arguments = needed.get(call, [])

    if call == "listen":  # a loop ends without an error, as documented
        assert list(bus.listen()) == []
        return
    with pytest.raises(ClosedError, match="is closed: make a new BusClient"):
        getattr(bus, call)(*arguments)
