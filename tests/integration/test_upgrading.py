"""Upgrading: a file of an older schema is brought up to date when it is opened, with all that is in it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import apsw
import pytest

from raven import BusClient, NewerSchemaError
from raven.migration import APPLICATION_ID
from raven.statements import migrations, scripts_after
from tests.support import Foreign, Program

Connect = Callable[..., BusClient]

# As the first schema had them, in short: they are in the way of nothing, and must not survive.
OLD_VIEWS = """
CREATE VIEW log AS SELECT m.*, NULL AS recipient, 0 AS state FROM messages AS m;
CREATE VIEW pending AS SELECT id FROM deliveries;
CREATE VIEW outbox AS SELECT sender, "to" AS recipient FROM messages;
CREATE TRIGGER outbox_insert INSTEAD OF INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'the old trigger'); END;
"""
OLD_MAIL = """
INSERT INTO messages (id, sender, "to", type, body, created_at) VALUES (1, 'boss:s', 'worker:s', 'job', '{"n":1}', 5);
INSERT INTO messages (id, sender, "to", type, body, created_at) VALUES (2, 'boss:s', 'worker:s', 'job', '{"n":2}', 6);
INSERT INTO deliveries (id, recipient, urgency, state, finished_at) VALUES (1 << 20, 'worker:s', 1, 2, 7);
INSERT INTO deliveries (id, recipient, urgency, state, attempts) VALUES (2 << 20, 'worker:s', 1, 1, 4);
"""


@pytest.fixture
def old(db: str) -> str:
    """Make a file as the first schema wrote it."""
    with closing(apsw.Connection(db)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL").fetchall()
        connection.execute(f"BEGIN; {scripts_after(0)[0]}; {OLD_VIEWS}; {OLD_MAIL}; COMMIT").fetchall()
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1")
    return db


def test_what_the_first_schema_has_kept_is_read_claimed_and_acked(old: str, connect: Connect) -> None:
    worker = connect("worker:s")

    (waiting,) = worker.inbox(peek=True)
    (claimed,) = worker.claim()
    worker.nack(claimed.id, reason="the fifth time")

    assert (waiting.id, waiting.body, waiting.report, waiting.reply_address) == (2, {"n": 2}, None, None)
    assert claimed.attempts == 5
    assert [(msg.id, msg.reason) for msg in worker.dead()] == [(2, "the fifth time")]
    assert worker.read(1).state == "acked"


def test_the_views_are_those_of_the_newest_schema(old: str, connect: Connect, foreign: Foreign) -> None:
    worker = connect("worker:s")

    foreign.send("worker:s", "by SQL", report="undelivered", max_attempts=2)

    assert [msg.body for msg in worker.inbox()] == [{"n": 2}, "by SQL"]
    assert worker.receipts(3)[0].max_attempts == 2
    assert foreign.value("PRAGMA user_version") == len(migrations())
    assert foreign.value("SELECT reply_address IS NULL FROM pending WHERE id = 3") == 1


def test_many_processes_that_open_an_old_file_at_once_upgrade_it_once(
    old: str, spawn: Callable[..., Program], foreign: Foreign
) -> None:
    openers = [spawn("opener", f"opener-{number}:s", old) for number in range(4)]
    for opener in openers:
        opener.read()
    for opener in openers:
        opener.tell()
    for opener in openers:
        assert opener.read() == 2

    assert foreign.value("PRAGMA user_version") == len(migrations())
    assert foreign.value("SELECT count(*) FROM messages") == 2 + len(openers)


def test_a_file_that_is_newer_than_raven_is_refused(old: str, foreign: Foreign) -> None:
    foreign.execute(f"PRAGMA user_version = {len(migrations()) + 1}")

    with pytest.raises(NewerSchemaError, match="upgrade raven"):
        BusClient.at("worker:s", old)
