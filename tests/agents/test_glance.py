"""Glance: one read-only statement, which finds all by an index and leaves the bus as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from raven import BusClient, BusyError, DatabaseError, FileMissingError, NotABusError
from raven.agents import glance, process
from raven.agents.agents import Agents
from raven.agents.glance import Glance
from raven.store.sql import migrations_after
from tests.support import Foreign, Program


def bind(db: str, address: str, native_id: str) -> None:
    with BusClient.at(address, db) as bus:
        Agents(bus._store).bind(address, "codex", native_id, process.own(), "/")


def test_a_look_returns_a_session_with_each_message_that_waits_for_it(db: str) -> None:
    bind(db, "verifier:pay", "one")
    bind(db, "builder:pay", "two")
    with BusClient.at("architect:pay", db) as sender:
        sender.send("verifier:pay", "note", urgency="fyi")
        sender.send("verifier:pay", "question", urgency="blocking")
        sender.send("builder:pay", "question")

    look = Glance(db, 0.5).look("codex", "one")

    assert [(sight.message_id, sight.sender, sight.type, sight.urgency) for sight in look] == [
        (2, "architect:pay", "question", 0),
        (1, "architect:pay", "note", 2),
    ]
    assert {(sight.native_id, sight.address, sight.pid) for sight in look} == {("one", "verifier:pay", os.getpid())}


def test_a_look_without_a_name_returns_the_sessions_of_the_program_that_have_a_process(db: str) -> None:
    for name in ("one", "two"):
        bind(db, f"{name}:pay", name)
    with BusClient.at("one:pay", db) as bus:
        agents = Agents(bus._store)
        agents.bind("two:pay", "codex", "two", process.own(), "/")
        agents.end("codex", "two")

    assert [(sight.native_id, sight.message_id) for sight in Glance(db, 0.5).look("codex", None)] == [("one", None)]
    assert Glance(db, 0.5).look("gemini", None) == []


def test_a_look_changes_no_file_and_the_next_client_removes_those_that_sqlite_has_made(db: str, tmp_path: Path) -> None:
    bind(db, "verifier:pay", "one")
    before = contents(tmp_path)

    assert Glance(db, 0.5).look("codex", "one")

    after = contents(tmp_path)
    assert after.keys() - before.keys() <= {"bus.db-wal", "bus.db-shm"}
    assert {name: after[name] for name in before} == before
    assert not after.get("bus.db-wal")
    BusClient.at("verifier:pay", db).close()
    assert contents(tmp_path).keys() == before.keys()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_look_beside_a_writer_sees_the_last_commit(db: str, spawn: Callable[..., Program]) -> None:
    bind(db, "verifier:pay", "one")
    assert spawn("lock_holder", db).read() == 1

    assert Glance(db, 0.5).look("codex", "one")


def test_a_file_that_is_missing_or_no_bus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="there is no bus at"):
        Glance(str(tmp_path / "none.db"), 0.5).look("codex", "one")
    (tmp_path / "text.db").write_text("no database, and longer than a header of SQLite" * 40)
    with pytest.raises(NotABusError, match="is not an SQLite database"):
        Glance(str(tmp_path / "text.db"), 0.5).look("codex", "one")
    (tmp_path / "text.db").chmod(0o666)
    with pytest.raises(DatabaseError, match="can be written by other users"):
        Glance(str(tmp_path / "text.db"), 0.5).look("codex", "one")


def test_a_locked_file_is_an_error_after_the_timeout(db: str, spawn: Callable[..., Program]) -> None:
    bind(db, "verifier:pay", "one")
    foreign = Foreign(spawn("external_writer", db))
    foreign.execute("PRAGMA locking_mode = EXCLUSIVE")
    foreign.execute("BEGIN EXCLUSIVE")

    with pytest.raises(BusyError, match="is locked"):
        Glance(db, 0.05).look("codex", "one")


@pytest.mark.parametrize("native_id", ["one", None])
def test_the_statement_finds_all_by_an_index(native_id: str | None) -> None:
    with closing(apsw.Connection(":memory:")) as connection:
        for script in migrations_after(0):
            connection.execute(script)
        statement = Path(glance._STATEMENT).read_text("utf-8")
        params = {"host": "codex", "native_id": native_id, "now": 0, "max": 9}
        plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", params)]

    assert [step for step in plan if step.startswith(("SCAN", "SEARCH"))] == [
        "SEARCH a USING PRIMARY KEY (host=?)",
        "SEARCH d USING INDEX deliveries_open (leased=? AND recipient=? AND ready_at<?) LEFT-JOIN",
        "SEARCH m USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
        "SEARCH muted USING PRIMARY KEY (address=?)",
    ]
