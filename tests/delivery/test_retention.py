"""Retention in normal use: the bus stays within its limits, and unfinished messages stay."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient, ConfigError
from raven.config import Retention
from raven.delivery import retention
from raven.host.bus import HostedBus
from raven.store.database import Store
from scripts.harness.deadline import Limit
from tests.stores import another_file
from tests.support import Foreign, Program

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
WORKER = "worker:s"


def work_off(boss: BusClient, worker: BusClient, count: int, body: Any = "x") -> None:
    """Send this many messages, one after the other, and ack each."""
    for _ in range(count):
        boss.send(WORKER, "job", body)
        (message,) = worker.claim()
        worker.ack(message.id)


def kept(foreign: Foreign) -> tuple[int, int, int]:
    """Return the number of messages, the oldest id and the newest id."""
    ((count, oldest, newest),) = foreign.execute("SELECT count(*), min(id), max(id) FROM messages")
    return count, oldest, newest


def test_the_newest_are_kept_and_never_many_more(connect: Connect, foreign: Foreign) -> None:
    boss, worker = connect("boss:s", retention={"grace_s": 0, "max_messages": 150}), connect(WORKER)
    most = 0
    for _ in range(12):
        work_off(boss, worker, 50)
        count, oldest, newest = kept(foreign)
        most = max(most, count)

    assert newest == 600
    assert 150 <= most <= 300
    assert newest - oldest < 300
    assert foreign.value("SELECT count(*) FROM deliveries WHERE id >> 20 NOT IN (SELECT id FROM messages)") == 0


def test_messages_older_than_the_limit_are_deleted_and_younger_ones_stay(connect: Connect, foreign: Foreign) -> None:
    boss, worker = connect("boss:s", retention={"grace_s": 0, "max_age_s": 3600}), connect(WORKER)
    work_off(boss, worker, 60)
    foreign.execute("UPDATE messages SET created_at = created_at - 7200000000 WHERE id <= 40")

    work_off(boss, worker, 100)

    assert kept(foreign) == (120, 41, 160)


def test_the_file_stays_below_its_size(hosted: Hosted, db: str, foreign: Foreign) -> None:
    boss, worker = hosted("boss:s", retention={"grace_s": 0, "max_bytes": 400_000}), hosted(WORKER)
    for _ in range(8):
        work_off(boss, worker, 100, "x" * 2000)
    worker.checkpoint()

    assert os.stat(db).st_size < 1_200_000
    assert kept(foreign)[0] < 400


def test_unfinished_and_dead_messages_stay_at_any_limit(connect: Connect, foreign: Foreign) -> None:
    boss = connect("boss:s", retention={"grace_s": 0, "max_messages": 1, "max_age_s": 0.000001, "max_bytes": 1})
    worker, stuck = connect(WORKER), connect("stuck:s")
    waiting = boss.send_many([{"to": "stuck:s", "type": "job"} for _ in range(30)])
    stuck.inbox()
    (leased,) = stuck.claim()
    doomed = boss.send("stuck:s", "job", urgency="blocking", max_attempts=1)
    stuck.nack(stuck.claim()[0].id)
    delayed = boss.send("stuck:s", "job", delay_s=3600)

    work_off(boss, worker, 450)

    left = {row[0] for row in foreign.execute("SELECT id FROM messages")}
    assert {message.id for message in waiting} | {leased.id, doomed.id, delayed.id} <= left
    assert len(left) < 32 + 250
    assert [message.id for message in boss.dead()] == [doomed.id]


def test_a_long_row_of_unfinished_messages_does_not_keep_the_rest_from_going(
    connect: Connect, foreign: Foreign
) -> None:
    boss, worker = connect("boss:s", retention={"grace_s": 0, "max_messages": 100}), connect(WORKER)
    boss.send_many([{"to": "stuck:s", "type": "job"} for _ in range(5000)])

    work_off(boss, worker, 1500)

    count, oldest, newest = kept(foreign)
    assert (oldest, newest) == (1, 6500)
    assert count < 5000 + 700


def test_without_limits_nothing_goes(connect: Connect, foreign: Foreign) -> None:
    boss, worker = connect("boss:s"), connect(WORKER)

    work_off(boss, worker, 120)

    assert kept(foreign)[0] == 120
    assert foreign.value("SELECT count(*) FROM meta WHERE key = 'retention_place'") == 0


def test_a_process_that_sends_once_does_its_share(connect: Connect, db: str, foreign: Foreign) -> None:
    boss, worker = connect("boss:s"), connect(WORKER)
    work_off(boss, worker, 100)

    with BusClient.at("once:s", db, retention=Retention(max_messages=10, grace_s=0)) as once:
        once.send(WORKER, "job")

    assert kept(foreign)[0] == 10


def test_nothing_goes_inside_a_transaction(connect: Connect, foreign: Foreign) -> None:
    boss, worker = connect("boss:s"), connect(WORKER)
    work_off(boss, worker, 100)
    limited = connect("limited:s", retention={"grace_s": 0, "max_messages": 10})

    with limited.transaction() as tx:
        tx.send(WORKER, "job")
        inside = kept(foreign)[0]

    assert inside == 100
    assert kept(foreign)[0] == 10


def test_a_client_with_limits_deletes_enough_for_the_sends_of_others(connect: Connect, foreign: Foreign) -> None:
    boss, worker = connect("boss:s"), connect(WORKER)
    limited = connect("limited:s", retention={"grace_s": 0, "max_messages": 100})

    for _ in range(4):
        work_off(boss, worker, 1000)
        for _ in range(100):
            limited.send("nobody:s", "note", expires_in_s=0.001)

    assert kept(foreign)[0] < 1500


def test_while_another_writer_holds_the_lock_maintenance_returns_and_deletes_later(
    hosted: Hosted, spawn: Callable[..., Program], db: str, foreign: Foreign
) -> None:
    boss, worker = hosted("boss:s"), hosted(WORKER)
    work_off(boss, worker, 100)
    maintainer = hosted("maintainer:s", retention={"grace_s": 0, "max_messages": 10}, busy_timeout_s=60)
    holder = spawn("lock_holder", db)
    holder.read()

    began = time.monotonic()
    maintainer.run_maintenance()
    took_s = time.monotonic() - began
    during = kept(foreign)[0]
    holder.tell()
    holder.read()
    maintainer.run_maintenance()

    assert took_s < Limit(5)
    assert (during, kept(foreign)[0]) == (100, 10)


def test_maintenance_deletes_all_messages_beyond_the_limits(hosted: Hosted, foreign: Foreign) -> None:
    boss, worker = hosted("boss:s"), hosted(WORKER)
    work_off(boss, worker, 500)
    maintainer = hosted("maintainer:s", retention={"grace_s": 0, "max_messages": 10})

    maintainer.run_maintenance(at_most_s=30)

    assert kept(foreign) == (10, 491, 500)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_age": 5}, "'max_age' is not known: use max_age_s, max_messages, max_bytes, grace_s"),
        ({"max_age_s": 0}, "max_age_s is 0"),
        ({"max_age_s": "7d"}, "max_age_s is '7d'"),
        ({"max_messages": 0}, "max_messages is 0"),
        ({"max_messages": 1.5}, "max_messages is 1.5"),
        ({"max_bytes": True}, "max_bytes is True"),
        ({"grace_s": -1}, "grace_s is -1"),
        (7, "retention is 7, but must be limits"),
    ],
)
def test_an_invalid_limit_is_refused_with_its_value(connect: Connect, limits: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        connect("boss:s", retention=limits)


def test_messages_selected_in_one_file_are_not_deleted_from_another(db: str, store: Store) -> None:
    found_in = store.replaced
    another_file(db)

    retention._delete(store, found_in, [1])

    assert store.value("last_message_id") == 1
    assert store.replaced == found_in + 1


def test_a_bus_within_limits_shrinks_by_many_free_pages(
    db: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_SPARE_PAGES", 8)
    with BusClient.at("boss:s", db) as bus:
        bus.register("worker:s")
        bus.send_many([{"to": "worker:s", "type": "note", "body": "x" * 4000}] * 100)
        for message in (worker := connect("worker:s")).claim(max=100):
            worker.ack(message.id)
        bus._store.checkpoint()
        before = int(bus._store.pragma("page_count"))
        remover = retention.RetentionWorker(bus._store, retention.Retention(max_messages=1, grace_s=0))

        while remover.delete_batch():
            pass

        assert int(bus._store.pragma("page_count")) < before
    assert Path(db).exists()
