"""Upgrading a file of schema version 2, 3 or 4: its mail keeps its state, however the upgrade goes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import closing

import apsw
import pytest

from raven import BusClient
from raven.store.connection import new_schema
from raven.store.migrations import APPLICATION_ID
from raven.store.sql import migrations, migrations_after
from tests.support import Foreign, Program

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
HOUR_US = 3_600_000_000


@pytest.fixture(params=[2, 3, 4])
def version(request: pytest.FixtureRequest) -> int:
    """Return the schema version of the old file."""
    return int(request.param)


@pytest.fixture
def old(db: str, version: int) -> str:
    """Write an old bus with mail in each state of an unfinished delivery."""
    scripts = [*migrations_after(0)[:version], migrations_after(len(migrations()))[-1]]
    now = time.time_ns() // 1000
    with closing(apsw.Connection(db)) as connection:
        for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "wal_autocheckpoint = 0"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        for script in scripts:
            connection.execute(script)
        for id, (ready_at, lease, expires_at) in enumerate(
            (
                (0, None, None),  # ready
                (now - 1, None, None),  # its delay is over
                (now + HOUR_US, None, None),  # delayed
                (now - 1, 77, None),  # its lease is over
                (now + HOUR_US, 78, None),  # leased
                (0, None, now - 1),  # expired
            ),
            start=1,
        ):
            connection.execute(
                'INSERT INTO messages (id, sender, "to", type, body, created_at, expires_at)'
                " VALUES (?, 'boss:s', 'worker:s', 'job', '1', ?, ?)",
                (id, now, expires_at),
            )
            connection.execute(
                "INSERT INTO deliveries (id, recipient, urgency, ready_at, lease, expires_at)"
                " VALUES (? << 20, 'worker:s', 1, ?, ?, ?)",
                (id, ready_at, lease, expires_at),
            )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}")
    return db


def check_upgraded(connect: Connect, foreign: Foreign) -> None:
    """Check that the file is of the newest version, and that each message has kept its state."""
    worker = connect("worker:s")
    assert foreign.value("PRAGMA user_version") == len(migrations())
    schema = foreign.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    assert {tuple(row) for row in schema} == set(new_schema())
    assert foreign.value("PRAGMA integrity_check") == "ok"
    assert [message.id for message in worker.inbox(peek=True)] == [1, 2, 4, 5]
    assert [message.id for message in worker.claim(max=10)] == [1, 2, 4]
    assert [receipt.state for id in (3, 5, 6) for receipt in worker.receipts(id)] == ["sent", "sent", "expired"]


def test_mail_of_an_old_version_keeps_its_state(old: str, connect: Connect, foreign: Foreign) -> None:
    check_upgraded(connect, foreign)


def test_processes_that_open_an_old_file_at_once_upgrade_it_once(
    old: str, connect: Connect, spawn: Spawn, foreign: Foreign
) -> None:
    openers = [spawn("opener", f"opener-{number}:x", old) for number in range(3)]
    for opener in openers:
        opener.read()
    for opener in openers:
        opener.tell()
    for opener in openers:
        assert opener.read() == 2

    claimed = connect("worker:s").claim(max=10)
    assert [message.id for message in claimed] == [1, 2, 4, 7, 8, 9]
    assert {message.body for message in claimed[3:]} == {f"opener-{number}:x" for number in range(3)}
    assert foreign.value("PRAGMA user_version") == len(migrations())


def test_an_upgrade_that_dies_at_any_statement_is_done_by_the_next_opener(
    old: str, version: int, connect: Connect, spawn: Spawn, foreign: Foreign
) -> None:
    for number in range(1, 100):
        upgrade = spawn("killed_migration", old, str(number))
        if upgrade.wait() != -signal.SIGKILL:
            break
        assert foreign.value("PRAGMA user_version") == version

    assert number > 10
    check_upgraded(connect, foreign)


def test_a_client_that_had_the_old_file_open_still_works(old: str, connect: Connect, foreign: Foreign) -> None:
    # The statements of these versions for a claim and an ack.
    ready = (
        "SELECT id FROM deliveries WHERE state < 2 AND recipient = 'worker:s' AND ready_at = 0"
        " AND (expires_at IS NULL OR expires_at > 1) ORDER BY urgency, id LIMIT 1"
    )
    with closing(apsw.Connection(old)) as client:
        client.execute(ready).fetchall()
        connect("other:s")

        client.execute(f"UPDATE deliveries SET ready_at = 9, lease = 5, state = 1 WHERE id IN ({ready})")
        leased = client.execute("SELECT id >> 20 FROM deliveries WHERE lease = 5").fetchall()
        client.execute("UPDATE deliveries SET state = 2, lease = NULL, ready_at = 0 WHERE lease = 5")

    assert leased == [(1,)]
    assert foreign.value("PRAGMA integrity_check") == "ok"
    assert [message.id for message in connect("worker:s").claim(max=10)] == [2, 4]


@pytest.mark.parametrize("name", ["agents", "mutes"])
def test_a_table_of_a_user_with_a_plain_name_is_left_alone(
    old: str, connect: Connect, foreign: Foreign, name: str
) -> None:
    foreign.execute(f"CREATE TABLE {name} (name TEXT)")
    foreign.execute(f"INSERT INTO {name} VALUES ('mine')")

    bus = connect("worker:s")

    assert foreign.value("PRAGMA user_version") == len(migrations())
    assert bus.execute(f"SELECT name FROM {name}") == [("mine",)]
