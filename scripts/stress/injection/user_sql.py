"""User SQL: statements of the user that try to change raven's tables in many ways."""

from __future__ import annotations

import random
from contextlib import closing
from typing import Any

from raven import BusClient, StatementError
from scripts.stress.trial import Round

_COLUMNS = {
    "messages": "body",
    "deliveries": "state",
    "identities": "role",
    "meta": "value",
    "log": "body",
    "pending": "body",
    "outbox": "body",
}
_VIEWS = ("log", "pending", "outbox")
_FORMS = (
    "DELETE FROM {t}",
    "DELETE FROM {t} WHERE 0",
    "UPDATE {t} SET {c} = {c}",
    "UPDATE OR REPLACE {t} SET {c} = NULL WHERE 1",
    "WITH x AS (SELECT 1) DELETE FROM {t}",
    "WITH x AS (SELECT 1) UPDATE {t} SET {c} = 1",
    "REPLACE INTO {m} SELECT * FROM {m}",
    "INSERT OR REPLACE INTO {m} SELECT * FROM {m}",
    "INSERT INTO {m} DEFAULT VALUES",
    "DROP {kind} {t}",
    "DROP {kind} IF EXISTS {t}",
    "ALTER TABLE {m} RENAME TO mine",
    "ALTER TABLE {m} RENAME COLUMN {c} TO mine",
    "ALTER TABLE {m} DROP COLUMN {c}",
    "ALTER TABLE {m} ADD COLUMN mine",
    "CREATE INDEX mine ON {name} ({c})",
    "CREATE TEMP TABLE {name} (id)",
    "CREATE TEMP TABLE {name} AS SELECT * FROM main.{name}",
    "CREATE TEMP VIEW {name} AS SELECT 1 AS id",
    "CREATE TABLE temp.{name} (id)",
    "CREATE VIEW temp.{name} AS SELECT 1",
    "CREATE VIRTUAL TABLE temp.{name} USING fts5 (x)",
    "CREATE TABLE mine (id); ALTER TABLE mine RENAME TO {name}",
    "CREATE TEMP TABLE mine (id); ALTER TABLE mine RENAME TO {name}",
    "CREATE TRIGGER mine AFTER DELETE ON {m} BEGIN SELECT 1; END",
    "CREATE TEMP TRIGGER mine BEFORE UPDATE ON {m} BEGIN SELECT 1; END",
    "CREATE TRIGGER mine INSTEAD OF DELETE ON {v} BEGIN SELECT 1; END",
    "CREATE TEMP TRIGGER mine INSTEAD OF INSERT ON {v} BEGIN DELETE FROM messages; END",
    "CREATE TRIGGER mine AFTER INSERT ON own BEGIN DELETE FROM {name}; END; INSERT INTO own VALUES (1)",
    "CREATE TEMP TRIGGER mine AFTER INSERT ON own BEGIN UPDATE {name} SET {c} = 1; END; INSERT INTO own VALUES (1)",
    "CREATE VIEW mine AS SELECT * FROM {name}; DELETE FROM mine",
    "CREATE VIEW mine AS SELECT 1 AS a; CREATE TRIGGER way INSTEAD OF INSERT ON mine BEGIN DELETE FROM {name}; END;"
    " INSERT INTO mine VALUES (1)",
    "CREATE VIEW outbox_insert AS SELECT * FROM {name}; DELETE FROM outbox_insert",
    "CREATE TRIGGER outbox_insert AFTER INSERT ON own BEGIN DELETE FROM {name}; END; INSERT INTO own VALUES (1)",
    "EXPLAIN DELETE FROM {t}",
    "SELECT 1; DELETE FROM {t}; SELECT 2",
    "DELETE FROM {t} RETURNING 1",
)
_NEVER = (
    "ATTACH 'other.db' AS other",
    "ATTACH DATABASE ':memory:' AS other",
    "DETACH temp",
    "VACUUM",
    "VACUUM main INTO 'copy.db'",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = OFF",
    "PRAGMA user_version = 9",
    "PRAGMA query_only = 1",
    "SELECT * FROM pragma_table_list",
    "SELECT load_extension('x')",
    "SELECT writefile('canary', 'x')",
    "SELECT readfile('bus.db')",
    "SELECT edit('x')",
    "SELECT fts3_tokenizer('simple', x'0102030405060708')",
    "COMMIT",
    "ROLLBACK",
    "END",
    "BEGIN",
    "SAVEPOINT x",
    "RELEASE step",
    "ANALYZE",
    "UPDATE sqlite_schema SET sql = ''",
    "DELETE FROM main.sqlite_master",
    "CREATE TABLE sqlite_mine (id)",
    "INSERT INTO sqlite_sequence VALUES ('x', 1)",
    "CREATE TABLE json_each (value)",
    "CREATE TEMP TABLE json_each (value)",
)
_COUNT = 60


def run(round: Round, bus: BusClient) -> None:
    """Run statements of each form, randomly spelled; all must be refused and change nothing."""
    bus.execute("CREATE TABLE IF NOT EXISTS own (id)")
    before = _snapshot(bus)
    forms = [*round.random.sample(_FORMS, len(_FORMS)), *round.random.choices(_FORMS, k=_COUNT - len(_FORMS))]
    for sql in (*(_fill(form, round.random) for form in forms), *_NEVER):
        try:
            result = bus.execute(sql)
            round.report("broken", f"user SQL may run {sql!r}: {result!a:.200}")
        except StatementError:
            pass
        round.count("user SQL statements")
    round.expect(_snapshot(bus) == before, "user SQL has changed raven's tables")
    # A foreign key of the user must not prevent raven from deleting messages.
    sent = bus.send("own:s", "note")
    bus.execute("CREATE TABLE tied (id INTEGER REFERENCES messages (id) ON DELETE RESTRICT)")
    bus.execute("INSERT INTO tied VALUES (?)", (sent.id,))
    with closing(BusClient.at("own:s", bus.db_path)) as own:
        own.ack(sent.id)
    bus.send("own:s", "note")
    bus.prune(0, grace_s=0)
    round.expect(sent.id not in {one.id for one in bus.tail(follow=False)}, "a foreign key of the user keeps a message")
    for table in ("tied", "own"):
        bus.execute(f"DROP TABLE {table}")


def _fill(form: str, rng: random.Random) -> str:
    name = rng.choice(list(_COLUMNS))
    spelled = "".join(rng.choice((char.upper(), char)) for char in name)
    quoted = rng.choice(("{}", '"{}"', "[{}]", "`{}`", "'{}'")).format(spelled)
    if "{m}" in form and name in _VIEWS:
        name = quoted = "messages"
    target = rng.choice(("", "main.", "main . ", "main/**/./**/")) + quoted
    view = rng.choice(_VIEWS)
    kind = "VIEW" if name in _VIEWS else "TABLE"
    sql = form.format(
        t=target, m=target, c=_COLUMNS[name], kind=kind, v=view, name=f'"{name}"' if rng.random() < 0.5 else name
    )
    return rng.choice(("", ";;", "/* x */ ", "-- x\n", "\ufeff")) + sql


def _snapshot(bus: BusClient) -> list[Any]:
    selects = ("messages", "deliveries", "meta")
    return [bus.execute(f"SELECT * FROM {name} ORDER BY 1") for name in selects] + [
        bus.execute("SELECT address, role, session, registered_at FROM identities"),
        bus.execute("SELECT name, sql FROM sqlite_schema UNION ALL SELECT name, sql FROM temp.sqlite_schema"),
    ]
