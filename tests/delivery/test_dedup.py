"""Dedup keys: a message sent twice is stored once, and the second send says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient, Message
from raven.wake.doorbell import Doorbells
from tests.support import Foreign, Program

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


@pytest.fixture
def boss(connect: Connect) -> BusClient:
    return connect("boss:s")


@pytest.fixture
def worker(connect: Connect) -> BusClient:
    return connect("worker:s")


def once(bus: BusClient, body: Any = None, **options: Any) -> Message:
    """Send with the dedup_key of these tests."""
    return bus.send("worker:s", "note", body, dedup_key="once", **options)


def id_and_duplicate(*sent: Message) -> list[tuple[int, bool]]:
    return [(msg.id, msg.duplicate) for msg in sent]


def test_the_second_send_returns_the_first_message_and_says_so(boss: BusClient, worker: BusClient) -> None:
    first = once(boss, 1, tags=["a"], urgency="fyi")
    (seen,) = worker.inbox()

    second = boss.send(["other:s", "*:s"], "other", {"a": 2}, dedup_key="once", urgency="blocking", expires_in_s=1)

    assert id_and_duplicate(first, second) == [(1, False), (1, True)]
    assert (second.type, second.body, second.tags, second.urgency, second.to) == ("note", 1, ("a",), "fyi", "worker:s")
    assert (second.state, second.delivered_at, second.expires_at) == ("delivered", seen.delivered_at, None)
    assert (boss.last_id(), boss.recipients(1)) == (1, ["worker:s"])


def test_json_says_which_send_was_a_duplicate(boss: BusClient) -> None:
    json_forms = [json.loads(json.dumps(once(boss).as_dict())) for _ in range(3)]

    assert [json_form["duplicate"] for json_form in json_forms] == [False, True, True]
    assert [Message.from_dict(json_form).duplicate for json_form in json_forms] == [False, True, True]
    assert [json_form["waiting"] for json_form in json_forms] == [{"worker:s": False}] * 3


def test_another_sender_has_keys_of_its_own(boss: BusClient, worker: BusClient) -> None:
    sent = [once(boss), once(worker), once(boss), once(worker)]

    assert id_and_duplicate(*sent) == [(1, False), (2, False), (1, True), (2, True)]


def test_a_number_and_its_text_are_the_same_key(boss: BusClient) -> None:
    sent = [boss.send("worker:s", "note", dedup_key=key) for key in ("7", "07", "7")]

    assert id_and_duplicate(*sent) == [(1, False), (2, False), (1, True)]


def test_within_one_send_many_and_against_the_store(boss: BusClient, worker: BusClient) -> None:
    once(boss, "stored before")
    one = {"to": "worker:s", "type": "note"}

    sent = boss.send_many([
        {**one, "body": 1, "dedup_key": "a"}, {**one, "body": 2}, {**one, "body": 3, "dedup_key": "a"},
        {**one, "body": 4, "dedup_key": "once"}, {**one, "body": 5},
    ])  # fmt: skip

    assert id_and_duplicate(*sent) == [(2, False), (3, False), (2, True), (1, True), (4, False)]
    assert [msg.body for msg in worker.inbox()] == ["stored before", 1, 2, 5]


@pytest.mark.file_only
def test_a_key_whose_transaction_was_undone_is_free(boss: BusClient, worker: BusClient) -> None:
    def undo() -> None:
        with boss.transaction():
            assert id_and_duplicate(once(boss, 1), once(boss, 2)) == [(1, False), (1, True)]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undo()
    kept = once(boss, 3)

    assert not kept.duplicate
    assert [msg.body for msg in worker.inbox()] == [3]


@pytest.mark.file_only
def test_a_key_of_an_inner_transaction_that_was_undone_is_free_in_the_outer(boss: BusClient) -> None:
    def undo() -> None:
        with boss.transaction():
            once(boss, 1)
            raise ZeroDivisionError

    with boss.transaction():
        with pytest.raises(ZeroDivisionError):
            undo()
        sent = [once(boss, 2), once(boss, 3)]

    assert [(msg.duplicate, msg.body) for msg in sent] == [(False, 2), (True, 2)]


def test_of_eight_processes_at_once_exactly_one_stores(db: str, boss: BusClient, spawn: Spawn) -> None:
    actors = [spawn("actor", db, "racer:s") for _ in range(8)]
    for actor in actors:
        actor.ask(["peers", [], {}])

    with boss.transaction():  # all other writers wait for the lock until it ends
        for number, actor in enumerate(actors):
            actor.tell(["send", ["worker:s", "note", number], {"dedup_key": "once"}])
    results = [actor.read()["result"] for actor in actors]

    assert {result["id"] for result in results} == {1}
    assert sorted(result["duplicate"] for result in results) == [False] + [True] * 7
    assert {result["body"] for result in results} == {boss.read(1).body}
    assert boss.last_id() == 1


def test_a_key_is_free_again_once_its_message_was_pruned(boss: BusClient, worker: BusClient) -> None:
    first = once(boss)
    worker.ack(first.id)
    boss.prune(0, grace_s=0)
    assert once(boss).duplicate  # the newest is never pruned
    boss.send("worker:s", "note")
    boss.prune(0, grace_s=0)

    assert id_and_duplicate(once(boss), once(boss)) == [(3, False), (3, True)]


def test_a_duplicate_rings_no_doorbell_and_says_which_recipients_wait_now(
    db: str, boss: BusClient, spawn: Spawn
) -> None:
    once(boss)
    bells = [Doorbells(db).create(address) for address in ("worker:s", "other:s")]

    again = boss.send("other:s", "note", dedup_key="once")
    many = boss.send_many([{"to": "other:s", "type": "note", "dedup_key": "once"}] * 2)

    assert not any(bell.wait(0) for bell in bells)
    assert [msg.waiting for msg in (again, *many)] == [{"worker:s": True}] * 3
    for bell in bells:
        bell.close()


def test_a_message_beside_a_duplicate_rings_its_own_recipients(db: str, boss: BusClient) -> None:
    once(boss)
    bells = {address: Doorbells(db).create(address) for address in ("worker:s", "other:s")}

    boss.send_many([{"to": address, "type": "note", "dedup_key": key} for address, key in
                    (("worker:s", "once"), ("other:s", "new"))])  # fmt: skip

    assert {address: bell.wait(0) for address, bell in bells.items()} == {"worker:s": False, "other:s": True}
    for bell in bells.values():
        bell.close()


def test_a_key_holds_between_the_outbox_and_send(boss: BusClient, worker: BusClient, foreign: Foreign) -> None:
    foreign.send("worker:s", "of sql", sender="boss:s", dedup_key="once")
    sent = once(boss, "of send")
    boss.send("worker:s", "note", "of send", dedup_key="other")
    foreign.send("worker:s", "of sql", sender="boss:s", dedup_key="other")
    foreign.send("worker:s", "of sql", sender="boss:s", dedup_key="once")

    assert (sent.duplicate, sent.body) == (True, "of sql")
    assert [msg.body for msg in worker.inbox()] == ["of sql", "of send"]
    assert foreign.value("SELECT count(*) FROM deliveries") == 2


def test_a_duplicate_is_told_apart_after_its_recipients_are_done(boss: BusClient, worker: BusClient) -> None:
    first = once(boss, expires_in_s=1000)
    worker.ack(first.id)

    again = once(boss)

    assert (again.duplicate, again.state, again.recipient) == (True, "acked", "worker:s")
    assert again == boss.read(first.id)
