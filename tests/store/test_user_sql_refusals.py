"""User SQL that is refused: malformed statements, the end of raven's transaction, and writes to raven's tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient, InputError, StatementError
from tests.support import Foreign

Connect = Callable[..., BusClient]

BOGUS = """'9', 'x:y', 'z:s', 'note', '1', 1, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL"""
TRANSACTION_CONTROL = [
    "COMMIT",
    "commit transaction",
    "END",
    "END TRANSACTION;",
    "ROLLBACK",
    "ROLLBACK TO step",
    "ROLLBACK TRANSACTION TO SAVEPOINT step",
    "SAVEPOINT mine",
    "RELEASE step",
    "RELEASE SAVEPOINT step",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "BEGIN DEFERRED TRANSACTION",
    "-- a comment\nCOMMIT",
    "/* a comment */ ROLLBACK",
    ";;\n ; COMMIT",
    "SELECT 1; COMMIT",
    "INSERT INTO own VALUES (1, 'half'); COMMIT; INSERT INTO own VALUES (2, 'alone')",
    "INSERT INTO own VALUES (1, 'half'); END; BEGIN",
    "EXPLAIN COMMIT",
]
SETTINGS_AND_FILES = [
    "PRAGMA journal_mode = DELETE",
    "PRAGMA main.user_version = 99",
    "PRAGMA writable_schema = ON",
    "pragma synchronous(off)",
    "PRAGMA table_info(own)",
    "SELECT * FROM pragma_table_info('own')",
    "ATTACH 'other.db' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO 'copy.db'",
    "SELECT load_extension('any')",
    "UPDATE sqlite_schema SET sql = ''",
    "DELETE FROM sqlite_master",
]
RAVENS = [
    f"INSERT INTO messages VALUES ({BOGUS})",
    f"REPLACE INTO messages VALUES ({BOGUS})",
    f"INSERT OR IGNORE INTO main.messages VALUES ({BOGUS})",
    f"INSERT INTO messages VALUES ({BOGUS}) ON CONFLICT DO UPDATE SET body = 'changed'",
    "INSERT INTO deliveries (id, recipient, urgency) SELECT id + 1, 'x:y', 1 FROM deliveries",
    "INSERT INTO identities (address, role, session, registered_at, last_seen) VALUES ('x:y', 'x', 'y', 1, 1)",
    "INSERT INTO meta VALUES ('key', 'value')",
    "UPDATE raven_agents SET address = 'x:y'",
    "INSERT INTO raven_mutes VALUES ('x:y', 1)",
    "INSERT INTO log SELECT * FROM log",
    "UPDATE messages SET body = 'changed'",
    "UPDATE deliveries SET state = 2",
    "UPDATE deliveries SET state = 2 WHERE 0",
    "UPDATE OR IGNORE deliveries SET attempts = own.id FROM own",
    "UPDATE outbox SET body = '1'",
    "DELETE FROM messages",
    "DELETE FROM main.messages",
    'DELETE FROM "messages"',
    "DELETE FROM [Messages]",
    "delete from `MESSAGES`",
    "DELETE FROM main . 'deliveries' WHERE id = 1 RETURNING id",
    "DELETE FROM outbox",
    "DELETE FROM pending",
    "WITH old AS (SELECT id FROM deliveries) DELETE FROM deliveries WHERE id IN old",
    "WITH new AS (SELECT 'k', 'v') INSERT INTO meta SELECT * FROM new",
    "EXPLAIN DELETE FROM messages",
    "SELECT 1; DELETE FROM messages",
    "INSERT INTO own VALUES (1, 'half'); DELETE FROM messages",
    "ALTER TABLE messages RENAME TO mine",
    "ALTER TABLE deliveries ADD COLUMN mine",
    "ALTER TABLE messages RENAME COLUMN body TO mine",
    "ALTER TABLE deliveries DROP COLUMN reason",
    "ALTER TABLE own RENAME TO messages",
    "DROP TABLE messages",
    "DROP TABLE IF EXISTS main.deliveries",
    "DROP VIEW outbox",
    "DROP TRIGGER outbox_insert",
    "DROP INDEX deliveries_open",
    "CREATE INDEX mine ON messages (body)",
    "CREATE UNIQUE INDEX mine ON deliveries (recipient)",
    "CREATE TRIGGER mine AFTER INSERT ON messages BEGIN SELECT 1; END",
    "CREATE TRIGGER mine BEFORE UPDATE ON deliveries BEGIN SELECT RAISE(ABORT, 'no'); END",
    "CREATE TRIGGER mine INSTEAD OF INSERT ON outbox BEGIN SELECT 1; END",
    "CREATE TRIGGER mine INSTEAD OF DELETE ON pending BEGIN DELETE FROM messages; END",
    "CREATE TEMP TRIGGER mine AFTER INSERT ON main.messages BEGIN SELECT 1; END",
    "CREATE TEMP TRIGGER mine INSTEAD OF INSERT ON outbox BEGIN SELECT 1; END",
    "CREATE TEMP TABLE messages (id)",
    "CREATE TABLE temp.deliveries AS SELECT * FROM main.deliveries",
    'CREATE TEMPORARY TABLE "Identities" (address)',
    "CREATE TEMP VIEW outbox AS SELECT 1",
    "CREATE TEMP VIEW messages AS SELECT * FROM main.messages",
    "CREATE VIRTUAL TABLE temp.messages USING fts5 (body)",
    "ALTER TABLE own RENAME TO json_each",
]
HOLES = [
    # In the schema temp, which has no such name yet and which SQLite searches first.
    "CREATE TEMP TABLE mine (id); ALTER TABLE mine RENAME TO messages",
    "CREATE TEMP TRIGGER outbox_insert INSERT ON own BEGIN DELETE FROM messages; END; INSERT INTO own VALUES (1,1)",
    # In the place of a function that raven's statements call.
    "CREATE TABLE json_each (value)",
    "CREATE TEMP VIEW json_each AS SELECT 1 AS value",
]
BY_TRIGGER = [
    f"INSERT INTO messages VALUES ({BOGUS})",
    "UPDATE deliveries SET state = 2",
    "DELETE FROM messages",
    "DELETE FROM meta",
]


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Return a client with a user table and one unacked message."""
    client = connect("worker:s")
    client.execute("CREATE TABLE own (id INTEGER PRIMARY KEY, value)")
    client.send("worker:s", "note", "first")
    return client


def everything(foreign: Foreign) -> list[Any]:
    """Return the whole content of the file, except last_seen, as another process sees it."""
    tables = ("sqlite_schema", "messages", "deliveries", "meta", "own")
    return [foreign.execute(f"SELECT * FROM {table}") for table in tables] + [
        foreign.execute("SELECT address, registered_at FROM identities")
    ]


def check_that_raven_goes_on(bus: BusClient) -> None:
    """Check that raven's own statements still work: send, broadcast, claim, nack, ack and read."""
    bus.register("other:s")
    second = bus.send(["worker:s", "*:s"], "note", "after")
    assert sorted(bus.recipients(second.id)) == ["other:s", "worker:s"]
    first = bus.claim()[0]
    assert (first.body, bus.nack(first.id)) == ("first", "delivered")
    claimed = [msg.id for msg in bus.claim(2)]
    assert claimed == [first.id, second.id]
    for id in claimed:
        bus.ack(id)
    assert bus.inbox() == []
    assert [msg.id for msg in bus.tail(follow=False, role="worker:s")] == claimed


@pytest.mark.parametrize("sql", [*TRANSACTION_CONTROL, *SETTINGS_AND_FILES, *RAVENS, *HOLES])
def test_a_forbidden_statement_is_refused_and_changes_nothing(bus: BusClient, foreign: Foreign, sql: str) -> None:
    before = everything(foreign)

    with pytest.raises(StatementError):
        bus.execute(sql)

    assert everything(foreign) == before
    check_that_raven_goes_on(bus)


@pytest.mark.parametrize("sql", TRANSACTION_CONTROL + SETTINGS_AND_FILES)
def test_a_forbidden_statement_in_a_block_is_rolled_back_alone(bus: BusClient, foreign: Foreign, sql: str) -> None:
    with bus.transaction() as tx:
        tx.execute("INSERT INTO own VALUES (7, 'before')")
        with pytest.raises(StatementError):
            tx.execute(sql)
        tx.execute("INSERT INTO own VALUES (8, 'after')")
        assert foreign.execute("SELECT * FROM own") == []

    assert foreign.execute("SELECT * FROM own") == [[7, "before"], [8, "after"]]
    check_that_raven_goes_on(bus)


@pytest.mark.parametrize("sql", BY_TRIGGER)
def test_a_trigger_on_a_user_table_cannot_write_to_ravens_tables_either(
    bus: BusClient, foreign: Foreign, sql: str
) -> None:
    bus.execute(f"CREATE TRIGGER mine AFTER INSERT ON own BEGIN {sql}; END")
    before = everything(foreign)

    with pytest.raises(StatementError):
        bus.execute("INSERT INTO own VALUES (1, 'half')")

    assert everything(foreign) == before
    check_that_raven_goes_on(bus)


def test_every_table_and_view_of_raven_is_protected(bus: BusClient, foreign: Foreign) -> None:
    """A table of a later version cannot be forgotten."""
    names = foreign.execute("SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'view') AND name <> 'own'")

    assert len(names) >= 7
    for type_, name in names:
        for sql in (f"DROP {type_} {name}", f"DELETE FROM {name}", f"CREATE TEMP TABLE {name} (id)"):
            with pytest.raises(StatementError):
                bus.execute(sql)


@pytest.mark.parametrize(
    ("sql", "params", "why"),
    [
        ("SELEC 1", (), "syntax error"),
        ("SELECT 1; SELEC 1", (), "syntax error"),
        ("SELECT * FROM nowhere", (), "no such table: nowhere"),
        ("SELECT no_function()", (), "no such function: no_function"),
        ("SELECT ?", (), "uses 1 and there are 0"),
        ("SELECT ?", (1, 2), "uses 1 and there are 2"),
        ("SELECT 1", (1,), "uses 0 and there are 1"),
        ("SELECT ?", {"a": 1}, "has no name"),
        ("SELECT :a, :b", {"a": 1}, "b"),
        ("SELECT ?", None, "neither a list"),
        ("SELECT ?", 7, "neither a list"),
        ("SELECT ?", (object(),), "type object"),
        ("SELECT ?", ([1],), "type list"),
        ("SELECT ?", (2**63,), "too big"),
        ("SELECT ?", ("\ud800",), "surrogates"),
        ("SELECT '\ud800'", (), "surrogates"),
        ("SELECT 1\0; COMMIT", (), "null character"),
        (b"SELECT 1", (), "str not bytes"),
        (None, (), "str not NoneType"),
        ("INSERT INTO own VALUES (1, 1), (1, 2)", (), "UNIQUE constraint failed"),
        ("INSERT INTO own VALUES ('text', 1)", (), "datatype mismatch"),
        ("CREATE TABLE own (id)", (), "already exists"),
        ("SELECT zeroblob(9999999999)", (), "too big"),
    ],
)
def test_a_malformed_statement_raises_a_clear_error_and_does_nothing(
    bus: BusClient, foreign: Foreign, sql: Any, params: Any, why: str
) -> None:
    before = everything(foreign)

    with pytest.raises(StatementError) as caught:
        bus.execute(sql, params)

    assert why in str(caught.value)
    assert isinstance(caught.value, InputError)
    assert not caught.value.retryable
    assert everything(foreign) == before
    check_that_raven_goes_on(bus)


def test_the_error_shows_a_long_statement_in_short(bus: BusClient) -> None:
    with pytest.raises(StatementError) as caught:
        bus.execute(f"SELECT\n   nowhere,  {'x, ' * 1000} 1")

    assert str(caught.value).startswith("the statement 'SELECT nowhere, x, x,")
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("sql", ["", " \n", "-- nothing", "/* nothing */", ";;"])
def test_a_text_without_a_statement_does_nothing(bus: BusClient, foreign: Foreign, sql: str) -> None:
    before = everything(foreign)

    assert bus.execute(sql) == []

    assert everything(foreign) == before
