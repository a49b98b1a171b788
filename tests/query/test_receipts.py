"""Receipts: the subscribers that waited for a message, and the state of each delivery."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raven import BusClient, BusObserver, Message, Receipt
from scripts.harness.deadline import Limit
from tests.support import Program, wait_for_waiting, wait_until

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


@pytest.fixture
def boss(connect: Connect) -> BusClient:
    return connect("boss:s")


@pytest.fixture
def worker(connect: Connect) -> BusClient:
    return connect("worker:s")


def the_receipt(bus: BusObserver, message_id: int) -> Receipt:
    (receipt,) = bus.receipts(message_id)
    return receipt


def summary(receipt: Receipt) -> tuple[Any, ...]:
    return (receipt.state, receipt.attempts, receipt.leased, receipt.reason)


def is_about(moment: datetime | None, expected: datetime) -> bool:
    return moment is not None and abs(moment - expected) < timedelta(seconds=5)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_send_says_whether_a_subscriber_was_waiting(db: str, boss: BusClient, spawn: Spawn, count: int) -> None:
    for _ in range(count):
        spawn("subscriber", db, "worker:s")
    wait_for_waiting(db, "worker:s", count)

    assert boss.send("worker:s", "note").waiting == {"worker:s": count > 0}


@pytest.mark.parametrize(
    ("to", "waiting"),
    [
        (["a:s", "b:s"], {"a:s": True, "b:s": False}),
        (["b:s", "a:s", "b:s"], {"b:s": False, "a:s": True}),
        ("*:s", {"a:s": True, "b:s": False}),
        (["c:s", "*:s"], {"c:s": False, "a:s": True, "b:s": False}),
        ("boss:s", {"boss:s": False}),
    ],
)
def test_send_tells_it_of_each_recipient_in_order(
    db: str, boss: BusClient, spawn: Spawn, to: str | list[str], waiting: dict[str, bool]
) -> None:
    boss.register("b:s")
    spawn("subscriber", db, "a:s")
    wait_for_waiting(db, "a:s")

    sent = boss.send(to, "note")

    assert sent.waiting == waiting
    assert list(waiting) == boss.recipients(sent.id) == list(sent.waiting)


def test_a_broadcast_without_recipients_has_an_empty_waiting(boss: BusClient) -> None:
    sent = boss.send("*:s", "note")

    assert (sent.waiting, boss.receipts(sent.id), boss.wait_receipt(sent.id, timeout_s=0)) == ({}, [], [])


@pytest.mark.file_only
def test_inside_a_transaction_and_of_many_it_is_told_as_well(db: str, boss: BusClient, spawn: Spawn) -> None:
    spawn("subscriber", db, "a:s")
    wait_for_waiting(db, "a:s")

    with boss.transaction() as tx:
        for to in ("a:s", ["b:s", "a:s"]):
            tx.send(to, "note")
    many = boss.send_many([{"to": "b:s", "type": "note"}, {"to": ["a:s", "c:s"], "type": "note"}])

    assert [one.waiting for one in tx.results] == [{"a:s": True}, {"b:s": False, "a:s": True}]
    assert [one.waiting for one in many] == [{"b:s": False}, {"a:s": True, "c:s": False}]


@pytest.mark.file_only
def test_a_subscriber_that_has_left_or_died_is_not_waiting(db: str, boss: BusClient, spawn: Spawn) -> None:
    program = spawn("subscriber", db, "a:s")
    wait_for_waiting(db, "a:s")
    boss.send("boss:s", "note")
    loop: Any = iter(boss.listen())
    next(loop)

    program.kill()
    loop.close()

    assert boss.send(["a:s", "boss:s"], "note").waiting == {"a:s": False, "boss:s": False}


def test_only_the_result_of_send_has_waiting_in_json(boss: BusClient, worker: BusClient) -> None:
    sent = boss.send("worker:s", "note")
    others = [boss.read(sent.id), *worker.inbox(), *worker.claim(), *boss.tail(follow=False)]

    values = json.loads(json.dumps(sent.as_dict()))

    assert (values["waiting"], values["duplicate"]) == ({"worker:s": False}, False)
    assert Message.from_dict(values) == sent
    assert Message.from_dict(values).waiting == {"worker:s": False}
    assert len(others) == 4
    assert not [other for other in others if {"waiting", "duplicate"} & set(other.as_dict())]


def test_a_receipt_follows_a_message_from_sent_to_acked(db: str, boss: BusClient, worker: BusClient) -> None:
    sent = boss.send("worker:s", "note", max_attempts=3, expires_in_s=1000)
    seen = []

    with BusObserver(db) as observer:
        for step in (list, worker.inbox, worker.claim, lambda: worker.ack(sent.id)):
            step()
            seen.append(the_receipt(observer, sent.id))

    assert [summary(one)[:3] for one in seen] == [
        ("sent", 0, False), ("delivered", 0, False), ("delivered", 1, True), ("acked", 1, False)
    ]  # fmt: skip
    assert {(one.recipient, one.max_attempts, one.expires_at) for one in seen} == {("worker:s", 3, sent.expires_at)}
    assert seen[0].delivered_at is None
    assert seen[1].delivered_at == seen[2].delivered_at == seen[3].delivered_at
    assert is_about(seen[1].delivered_at, datetime.now(UTC))
    assert is_about(seen[2].ready_at, datetime.now(UTC) + timedelta(seconds=30))
    assert [one.ready_at for one in (seen[0], seen[1], seen[3])] == [None] * 3
    assert [one.finished_at is None for one in seen] == [True, True, True, False]
    assert [Receipt.from_dict(json.loads(json.dumps(one.as_dict()))) for one in seen] == seen


def test_a_delay_shows_when_it_ends_and_is_no_lease(boss: BusClient) -> None:
    sent = boss.send("worker:s", "note", delay_s=100)

    receipt = the_receipt(boss, sent.id)

    assert summary(receipt) == ("sent", 0, False, None)
    assert receipt.ready_at == sent.created_at + timedelta(seconds=100)


def test_a_lease_that_has_ended_shows_without_anybody_at_work(boss: BusClient, worker: BusClient) -> None:
    sent = boss.send("worker:s", "note", max_attempts=2)

    worker.claim(lease_s=0.01)
    again = wait_until(lambda: (one := the_receipt(boss, sent.id)).leased is False and one, "the end of the lease")
    worker.claim(lease_s=0.01)
    dead = wait_until(lambda: (one := the_receipt(boss, sent.id)).state == "dead" and one, "its death")

    assert (summary(again), again.ready_at) == (("delivered", 1, False, None), None)
    assert summary(dead) == ("dead", 2, False, "attempt 2 of 2 ended without an ack: its lease ran out")
    assert (dead.ready_at, dead.finished_at is None) == (None, False)


def test_an_expired_delivery_shows_as_expired_while_another_writer_is_active(
    db: str, boss: BusClient, spawn: Spawn
) -> None:
    sent = boss.send("worker:s", "note", expires_in_s=0.01)
    spawn("lock_holder", db).read()
    began = time.monotonic()

    receipt = wait_until(lambda: (one := the_receipt(boss, sent.id)).state == "expired" and one, "its end")

    assert (receipt.state, receipt.attempts) == ("expired", 0)
    assert time.monotonic() - began < Limit(2)


def test_each_recipient_has_its_own_receipt_in_the_order_of_the_list(
    boss: BusClient, worker: BusClient, connect: Connect
) -> None:
    sent = boss.send(["worker:s", "b:s", "a:s"], "note")

    worker.ack(sent.id)
    connect("a:s").claim()

    assert [(one.recipient, one.state) for one in boss.receipts(sent.id)] == [
        ("worker:s", "acked"), ("b:s", "sent"), ("a:s", "delivered")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ([], "sent"),
        (["inbox"], "delivered"),
        (["claim"], "delivered"),
        (["ack"], "delivered"),
        (["ack"], "acked"),
        (["inbox", "ack"], "acked"),
        (["claim", "nack"], "dead"),
        (["claim", "nack"], "delivered"),
    ],
)
def test_a_state_that_was_reached_is_no_wait(boss: BusClient, connect: Connect, steps: list[str], state: Any) -> None:
    bus = connect("worker:s")
    sent = boss.send("worker:s", "note", max_attempts=1)
    for step in steps:
        getattr(bus, step)(*([sent.id] if step in ("ack", "nack") else []))

    assert boss.wait_receipt(sent.id, state, timeout_s=0) == boss.receipts(sent.id)


def test_the_old_names_of_a_receipts_methods_still_work_and_warn(boss: BusClient) -> None:
    [receipt] = boss.receipts(boss.send("worker:s", "job").id)

    with pytest.warns(DeprecationWarning, match="Receipt.has_reached is deprecated: use reached") as warned:
        assert receipt.has_reached("sent")
    with pytest.warns(DeprecationWarning, match="Receipt.will_never_reach is deprecated: use cannot_reach"):
        assert not receipt.will_never_reach("acked")
    assert warned[0].filename == __file__
