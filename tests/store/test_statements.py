"""The SQL: every statement is named, described, used and fit for the schema; the schema stands once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import raven
import raven_mcp
from raven.model.message import MessageRow
from raven.store.sql import SQL, change_log, link_triggers, load_exchange, migrations, migrations_after

PACKAGE = Path(raven.__file__).parent
load_exchange()
QUERIES = "".join((PACKAGE / "store" / "sql" / f"{name}.sql").read_text("utf-8") for name in ("queries", "exchange"))


@pytest.fixture(scope="module")
def database() -> Iterator[apsw.Connection]:
    """Create an empty bus with a change log and a link in memory: only the schema matters here."""
    connection = apsw.Connection(":memory:")
    for script in (*migrations_after(0), change_log(), link_triggers()):
        connection.execute(script)
    yield connection
    connection.close()


NAMED = [name for name in SQL if f"\n-- {name} --\n" in QUERIES]


def names_used() -> set[str]:
    """Collect the statement names in all of raven's calls of the store."""
    used = set()
    for path in (*PACKAGE.rglob("*.py"), *Path(raven_mcp.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr
                in ("rows", "_rows", "value", "change", "insert", "insert_many", "rows_many", "_conversation")
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and isinstance(node.args[0].value, str)
            ):
                used.add(node.args[0].value)
                if node.func.attr == "_rows":
                    used.add(f"scoped_{node.args[0].value}")
            elif isinstance(node, ast.IfExp) and ast.unparse(node.test) == "scope is None":
                used |= {one.value for one in (node.body, node.orelse) if isinstance(one, ast.Constant)}
    return used


def test_there_are_statements() -> None:
    assert len(SQL) > 20
    named = re.findall(r"^-- (\w+) --$", QUERIES, flags=re.MULTILINE)
    assert len(named) == len(set(named)), "a name stands twice"
    assert set(NAMED) == set(named)
    # Each statement that reads `log` has a twin for bound clients.
    twins = {f"scoped_{name}" for name in named if "FROM log" in SQL[name]} - set(named)
    assert SQL.keys() == set(named) | twins - {"scoped_scoped_thread"}
    assert not [name for name in SQL if name.startswith("scoped") and "FROM log" in SQL[name]]


@pytest.mark.parametrize("name", SQL)
def test_every_statement_prepares_on_a_fresh_schema(database: apsw.Connection, name: str) -> None:
    bindings = dict.fromkeys(re.findall(r"(?<!:):(\w+)", SQL[name]), 1)

    assert database.execute(f"EXPLAIN {SQL[name]}", bindings).fetchall()


@pytest.mark.parametrize("name", NAMED)
def test_every_statement_is_one_statement_and_has_a_description(name: str) -> None:
    assert re.search(rf"^-- {name} --\n(?:-- \S.*\n)*-- \S.*\.$", QUERIES, flags=re.MULTILINE)
    assert ";" not in SQL[name]
    assert "--" not in SQL[name]


def test_every_statement_is_used_and_every_name_used_exists() -> None:
    assert names_used() | {"scoped_log"} == SQL.keys()


@pytest.mark.parametrize(
    "name", ["list_unacked", "next_ready", "get_delivery", "get_message", "log_after", "log_of_task"]
)
def test_statements_that_read_messages_keep_the_one_column_order(database: apsw.Connection, name: str) -> None:
    columns: list[str] = []

    def note(cursor: apsw.Cursor, *_: object) -> bool:
        columns[:] = [column[0] for column in cursor.get_description()]
        return True

    bindings = dict.fromkeys(re.findall(r"(?<!:):(\w+)", SQL[name]), 1)
    cursor = database.cursor()
    cursor.exec_trace = note
    cursor.execute(SQL[name], bindings).fetchall()

    assert tuple(columns) == MessageRow._fields


def test_the_schema_stands_once() -> None:
    sources = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.sql")]
    creating = [
        path.name for path in sources if re.search(r"CREATE\s+(TABLE|VIEW|INDEX|UNIQUE|TRIGGER)", path.read_text())
    ]

    assert sorted(creating) == [
        "0001_initial.sql", "0002_survival.sql", "0003_due_times.sql", "0004_hosts.sql", "0005_agents.sql",
        "change_log.sql", "link_triggers.sql", "views.sql",
    ]  # fmt: skip


def test_sql_lives_in_its_folder_and_not_in_python() -> None:
    # The store itself may use transactions, PRAGMAs and sqlite_schema.
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        statements = re.findall(
            r"\b(?:SELECT\b.*\bFROM (?!(?:temp\.)?sqlite_schema)|INSERT INTO(?! results)|UPDATE \w+ SET|DELETE FROM)"
            r" ?\w+",
            text,
        )
        assert not statements, path.name


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    numbers = sorted(int(path.name[:4]) for path in (PACKAGE / "store" / "sql").glob("[0-9]*.sql"))

    assert numbers == [*range(1, len(migrations()) + 1)]
