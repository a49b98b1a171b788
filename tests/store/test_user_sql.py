"""User SQL: a user's own statements in the bus file, alone and within a transaction."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from raven import BusClient, FileMissingError, StatementError
from raven.host.bus import HostedBus
from tests.support import DEADLINE_S, NEVER_POLLS_S, Foreign, Program, wait_for_waiting, wait_for_watch

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
Spawn = Callable[..., Program]
OUTBOX = "INSERT INTO outbox (sender, recipient, type, body) VALUES ('worker:s', 'other:s', 'note', json_quote(?))"


@pytest.fixture
def bus(hosted: Hosted) -> HostedBus:
    """Return a client with a table of its own."""
    client = hosted("worker:s")
    client.execute("CREATE TABLE own (id INTEGER PRIMARY KEY, value)")
    return client


def own(foreign: Foreign) -> list[Any]:
    """Return the rows that another process sees in the table."""
    return foreign.execute("SELECT id, value FROM own ORDER BY id")


def test_rows_are_tuples_of_sqlites_values(bus: BusClient) -> None:
    values = [None, 7, 2.5, "naïve ☕", b"\x00\xff", -(2**63)]

    bus.execute(f"INSERT INTO own (value) VALUES {', '.join('(?)' for _ in values)}", values)

    assert bus.execute("SELECT value, id FROM own ORDER BY id") == [(value, n) for n, value in enumerate(values, 1)]
    assert bus.execute("UPDATE own SET value = 0 WHERE id > 4 RETURNING id, value") == [(5, 0), (6, 0)]
    assert bus.execute("DELETE FROM own WHERE id = 99") == []


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT ?, ?", (1, "two")),
        ("SELECT ?, ?", [1, "two"]),
        ("SELECT ?2, ?1", ("two", 1)),
        ("SELECT :a, :b", {"a": 1, "b": "two"}),
        ("SELECT $a, @b", {"a": 1, "b": "two", "more": 3}),
        ("SELECT :a, :b", MappingProxyType({"a": 1, "b": "two"})),
    ],
)
def test_parameters_go_in_by_position_or_by_name(connect: Connect, sql: str, params: Any) -> None:
    assert connect("worker:s").execute(sql, params) == [(1, "two")]


def test_several_statements_are_one_savepoint_and_share_their_parameters(bus: BusClient) -> None:
    rows = bus.execute("INSERT INTO own VALUES (?, ?); SELECT value FROM own; -- and more\nSELECT ?;", (1, "a", "b"))

    assert rows == [("a",), ("b",)]


def test_user_tables_are_created_changed_and_dropped_for_all_connections(bus: BusClient, foreign: Foreign) -> None:
    bus.execute("INSERT INTO own VALUES (1, 'a'); ALTER TABLE own ADD COLUMN more DEFAULT 'b'")
    bus.execute("CREATE INDEX own_value ON own (value); CREATE VIEW shown AS SELECT more FROM own")
    bus.execute("CREATE TRIGGER own_copy AFTER INSERT ON own BEGIN UPDATE own SET more = 'c' WHERE id = NEW.id; END")
    bus.execute("INSERT INTO own VALUES (2, 'a', NULL) ON CONFLICT DO NOTHING")
    shown = foreign.execute("SELECT * FROM shown")
    bus.execute("DROP VIEW shown; DROP TRIGGER own_copy; DROP INDEX own_value; ALTER TABLE own RENAME TO renamed")

    assert shown == [["b"], ["c"]]
    assert bus.execute("SELECT name FROM sqlite_schema WHERE tbl_name IN ('own', 'shown', 'renamed')") == [("renamed",)]


def test_user_rows_are_committed_with_their_block(bus: BusClient, foreign: Foreign) -> None:
    with bus.transaction() as tx:
        tx.execute("INSERT INTO own VALUES (1, 'a')")
        sent = tx.send("other:s", "note")
        tx.execute("CREATE TABLE late AS SELECT * FROM own")
        inside = bus.execute("SELECT * FROM late")
        outside = own(foreign), foreign.value("SELECT count(*) FROM messages")

    assert (inside, outside) == ([(1, "a")], ([], 0))
    assert foreign.execute("SELECT * FROM late") == own(foreign) == [[1, "a"]]
    assert bus.read(sent.id).state == "sent"


def test_an_exception_that_leaves_the_block_rolls_back_user_rows_and_tables(bus: BusClient, foreign: Foreign) -> None:
    with suppress(ZeroDivisionError), bus.transaction() as tx:
        tx.send("other:s", "note")
        tx.execute("INSERT INTO own VALUES (1, 'undone'); CREATE TABLE undone (id); DROP TABLE own")
        raise ZeroDivisionError
    bus.execute("INSERT INTO own VALUES (2, 'later')")

    assert own(foreign) == [[2, "later"]]
    assert foreign.value("SELECT count(*) FROM messages") == 0
    assert foreign.value("SELECT count(*) FROM sqlite_schema WHERE name = 'undone'") == 0


def test_an_error_in_an_inner_block_that_leaves_both_rolls_back_everything(bus: BusClient, foreign: Foreign) -> None:
    def work() -> None:
        with bus.transaction() as tx:
            tx.execute("INSERT INTO own VALUES (1, 'undone')")
            with tx.transaction():
                tx.execute("INSERT INTO own VALUES (1, 'there already')")

    with pytest.raises(StatementError, match="UNIQUE constraint failed"):
        work()

    assert own(foreign) == []


@pytest.mark.parametrize("in_block", [True, False])
def test_several_statements_are_all_rolled_back_when_a_later_one_fails(
    bus: BusClient, foreign: Foreign, in_block: bool
) -> None:
    several = "INSERT INTO own VALUES (1, 'half'); INSERT INTO own VALUES (2, 'half'), (1, 'twice')"

    if in_block:
        with bus.transaction() as tx:
            tx.execute("INSERT INTO own VALUES (7, 'before')")
            with pytest.raises(StatementError):
                tx.execute(several)
            tx.execute("INSERT INTO own VALUES (8, 'after')")
    else:
        with pytest.raises(StatementError):
            bus.execute(several)

    assert own(foreign) == ([[7, "before"], [8, "after"]] if in_block else [])


def test_an_insert_into_the_outbox_by_user_sql_wakes_the_subscriber(db: str, bus: BusClient, spawn: Spawn) -> None:
    subscriber = spawn("subscriber", db, "other:s", f'{{"poll_interval_s": {NEVER_POLLS_S}}}')
    wait_for_waiting(db, "other:s")
    wait_for_watch(db, subscriber)

    bus.execute(OUTBOX, ("by itself",))
    with bus.transaction() as tx:
        tx.execute("CREATE TRIGGER tell AFTER INSERT ON own BEGIN " + OUTBOX.replace("?", "NEW.value") + "; END")
        tx.execute("INSERT INTO own VALUES (1, 'by a trigger')")

    assert [subscriber.read()["body"] for _ in range(2)] == ["by itself", "by a trigger"]


def test_ravens_tables_can_be_joined_with_the_users(bus: BusClient) -> None:
    sent = bus.send("worker:s", "note", "text")
    bus.execute("INSERT INTO own SELECT id, body ->> '$' FROM pending WHERE recipient = ?", (bus.address,))

    rows = bus.execute("SELECT m.type, own.value FROM messages AS m JOIN own USING (id) JOIN log USING (id)")

    assert rows == [("note", "text")]
    assert bus.execute("SELECT recipient FROM deliveries WHERE message_id = ?", (sent.id,)) == [("worker:s",)]


def test_threads_take_turns_and_a_block_excludes_the_others(bus: BusClient, foreign: Foreign) -> None:
    bus.execute("INSERT INTO own VALUES (1, 0)")

    def count(_: int) -> None:
        for _ in range(25):
            with bus.transaction() as tx:
                ((value,),) = tx.execute("SELECT value FROM own")
                tx.execute("UPDATE own SET value = ?", (value + 1,))
            bus.send("other:s", "note")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4), timeout=DEADLINE_S))

    assert own(foreign) == [[1, 100]]
    assert bus.last_id() == 100


def test_clients_that_share_a_connection_share_the_block(bus: BusClient, foreign: Foreign) -> None:
    other = bus.for_address("other:s")

    with suppress(ZeroDivisionError), bus.transaction():
        other.execute("INSERT INTO own VALUES (1, 'undone')")
        raise ZeroDivisionError

    assert own(foreign) == []


def test_invalid_utf_8_is_refused_as_text_and_readable_as_a_blob(bus: BusClient, foreign: Foreign) -> None:
    with pytest.raises(StatementError, match="utf-8"):
        bus.execute("INSERT INTO own VALUES (1, CAST(x'61ff' AS TEXT)) RETURNING value")
    bus.execute("INSERT INTO own VALUES (2, CAST(x'61ff' AS TEXT))")

    assert bus.execute("SELECT id, CAST(value AS BLOB) FROM own") == [(2, b"a\xff")]


def test_user_sql_continues_in_a_file_that_replaced_the_bus_and_is_authorized_there(
    db: str, tmp_path: Path, bus: BusClient
) -> None:
    new = BusClient.at("backup:s", str(tmp_path / "new.db"))
    new.execute("CREATE TABLE own (id INTEGER PRIMARY KEY, value); INSERT INTO own VALUES (9, 'new')")
    new.close()
    os.rename(db, f"{db}.away")
    with pytest.raises(FileMissingError):
        bus.execute("SELECT 1")

    os.rename(tmp_path / "new.db", db)

    assert bus.execute("SELECT * FROM own") == [(9, "new")]
    with pytest.raises(StatementError):
        bus.execute("DELETE FROM messages")


def test_both_sides_of_a_fork_run_user_sql_and_are_authorized(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign
) -> None:
    connect("worker:s")
    program = spawn("forked_user_sql", db)

    answers = [program.read(), program.read()]

    assert answers == [{"name": "child", "refused": True}, {"name": "parent", "refused": True}]
    assert foreign.execute("SELECT name FROM own") == [["child"], ["parent"]]
    assert foreign.value("SELECT count(*) FROM messages") == 2
