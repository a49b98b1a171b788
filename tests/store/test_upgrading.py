"""Upgrading: opening a bus of the first release upgrades it and keeps all its content.

`tests/data/bus-0.2.0.sql` describes that bus's content and origin.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from raven import BusClient, NewerSchemaError
from raven.store.migrations import check_format, migrate
from raven.store.sql import migrations
from scripts.stress.upgrade import old_bus
from tests.loop import taken
from tests.support import Foreign, Program

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


@pytest.fixture
def old(db: str) -> str:
    """Put the bus of the first release in place."""
    return old_bus.write(Path(db))


@pytest.mark.parametrize("state", old_bus.STATES)
def test_all_messages_of_the_first_release_are_kept(db: str, state: old_bus.State) -> None:
    old_bus.write(Path(db), state)

    assert old_bus.differences(db) == []


def test_old_mail_is_claimed_in_order_acked_and_dies_after_its_attempts(old: str, connect: Connect) -> None:
    crash = connect("crash:s")

    claimed = crash.claim(max=10)
    crash.ack(claimed[0].id)
    for message in claimed[1:3]:
        crash.nack(message.id)
    for _ in range(4):
        (again,) = crash.claim()
        crash.nack(again.id, reason="the fifth time")

    # The lease of a subscriber killed under 0.2.0 ended long ago.
    assert [(msg.id, msg.body, msg.attempts) for msg in claimed] == [(14, 2, 1), (15, 3, 1), (16, 4, 1), (17, 5, 1)]
    assert crash.read(14).state == "acked"
    assert [(msg.id, msg.reason) for msg in crash.dead()] == [(15, "the fifth time")]
    assert [msg.id for msg in crash.inbox()] == [16, 17]


def test_old_mail_is_delivered_to_subscribers_and_expired_mail_is_not(old: str, connect: Connect) -> None:
    worker, tester = connect("worker:s"), connect("tester:t")

    assert [msg.id for msg in taken(worker)] == [2, 3, 4, 11, 19, 5]
    assert [msg.id for msg in taken(tester)] == [5]
    assert {tester.read(id).state for id in (9, 18)} == {"expired"}


def test_old_dedup_keys_and_registrations_still_count(old: str, connect: Connect) -> None:
    boss = connect("boss:s")

    again = boss.send("worker:s", "note", "again", dedup_key="key-1")
    news = boss.send("*:s", "news", "to all that have registered with 0.2.0")

    assert (again.id, again.body, again.duplicate) == (2, "first", True)
    assert boss.recipients(news.id) == ["crash:s", "idle:s", "worker:s"]
    assert news.id == 20


def test_an_old_request_is_answered_and_old_mail_pruned(old: str, connect: Connect) -> None:
    worker = connect("worker:s")

    worker.reply(6, "answer", "late")
    pruned = worker.prune(0.001, grace_s=0)

    assert [msg.body for msg in connect("boss:s").inbox()] == ["☃ and 🐦", "late"]
    # Messages that every recipient has acked, or that have expired.
    assert pruned.messages == 5
    assert [msg.id for msg in worker.tail(follow=False)] == [2, 3, 4, 5, 7, 8, 10, 11, 14, 15, 16, 17, 19, 20]


def test_the_views_are_those_of_the_newest_schema(old: str, connect: Connect, foreign: Foreign) -> None:
    worker = connect("worker:s")

    foreign.send("worker:s", "by SQL", report="undelivered", max_attempts=2)

    assert worker.inbox()[-2].body == "by SQL"
    assert worker.receipts(20)[0].max_attempts == 2
    assert foreign.value("PRAGMA user_version") == len(migrations())
    assert foreign.value("SELECT reply_address IS NULL FROM pending WHERE id = 20") == 1


def test_an_external_client_that_had_the_old_file_open_can_still_send(
    old: str, connect: Connect, foreign: Foreign
) -> None:
    foreign.send("worker:s", "before")

    worker = connect("worker:s")
    foreign.send("worker:s", "after")

    assert [msg.body for msg in worker.inbox()][-3:-1] == ["before", "after"]


def test_many_processes_that_open_an_old_file_at_once_upgrade_it_once(old: str, spawn: Spawn, foreign: Foreign) -> None:
    openers = [spawn("opener", f"opener-{number}:x", old) for number in range(4)]
    for opener in openers:
        opener.read()
    for opener in openers:
        opener.tell()
    for opener in openers:
        assert opener.read() == 2

    assert foreign.value("PRAGMA user_version") == len(migrations())
    assert foreign.value("SELECT count(*) FROM messages") == 18 + len(openers)


def test_a_file_that_a_newer_raven_upgrades_meanwhile_is_refused_and_stays_marked(old: str, foreign: Foreign) -> None:
    with closing(apsw.Connection(old)) as connection:
        check_format(connection, old)
        foreign.execute(f"PRAGMA user_version = {len(migrations()) + 1}")

        with pytest.raises(NewerSchemaError, match="upgrade raven"):
            migrate(connection)

    assert foreign.value("PRAGMA user_version") == len(migrations()) + 1


def test_a_running_client_still_works_when_a_newer_raven_adds_columns(
    old: str, connect: Connect, foreign: Foreign
) -> None:
    worker, boss = connect("worker:s"), connect("boss:s")
    log = foreign.value("SELECT sql FROM sqlite_schema WHERE name = 'log'")
    before = [msg.id for msg in worker.inbox(peek=True)]

    foreign.execute("ALTER TABLE messages ADD COLUMN of_tomorrow TEXT")
    foreign.execute("ALTER TABLE deliveries ADD COLUMN of_tomorrow INTEGER NOT NULL DEFAULT 0")
    foreign.execute("DROP VIEW log")
    foreign.execute(log.replace("m.*", "m.*, 1 AS another"))
    foreign.execute(f"PRAGMA user_version = {len(migrations()) + 1}")
    sent = boss.send("worker:s", "note", "after")

    assert [msg.id for msg in worker.inbox(peek=True)] == [*before[:-1], sent.id, before[-1]]
    assert worker.read(sent.id).body == "after"
    assert [msg.id for msg in worker.tail(follow=False)] == [*range(2, sent.id + 1)]
    assert [msg.id for msg in worker.thread(6)] == [6, 7]
    assert [msg.id for msg in worker.history("talk")] == [2, 6, 7]
    assert [msg.id for msg in worker.history(task_id="task-1")] == [2]
    assert [msg.id for msg in worker.claim(max=10)] == [*before[:-1], sent.id, before[-1]]
    worker.ack(sent.id)
    for _ in range(5):
        worker.nack(before[0])
        worker.claim()
    assert [msg.id for msg in worker.dead()] == before[:1]
