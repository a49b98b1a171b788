"""Retention, `prune` and `purge_dead` leave what somebody can wait for, and a waiter is told what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient, ExpiredError, MessageNotFoundError, UndeliveredError
from raven.host.bus import HostedBus
from raven.wake.doorbell import Doorbells, receipt_address
from tests.support import DEADLINE_S, Foreign, wait_for_waiting, wait_until
from tests.thread_call import Asking

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
both_ways = pytest.mark.both_ways
MINUTE_US = 60_000_000


def delete_all_but_waited_for(bus: Any, *, grace_s: float = 0) -> None:
    """Delete all that may go, in each way."""
    bus.purge_dead()
    bus.prune(0, grace_s=grace_s)


def newest(bus: BusClient) -> None:
    """Send another message: the newest one is never deleted."""
    bus.ack(bus.send(bus.address, "note").id)


def is_there(foreign: Foreign, message_id: int) -> bool:
    return bool(foreign.value("SELECT count(*) FROM messages WHERE id = ?", message_id))


def finish_earlier(foreign: Foreign, by_us: int = 2 * MINUTE_US) -> None:
    """Let all messages have been sent and finished earlier."""
    foreign.execute("UPDATE deliveries SET finished_at = finished_at - ?", by_us)
    foreign.execute("UPDATE messages SET created_at = created_at - ?", by_us)


@both_ways
def test_a_request_that_was_taken_is_kept_until_its_answer(connect: Connect, foreign: Foreign) -> None:
    asker, oracle = connect("asker:s"), connect("oracle:s")
    asking = Asking(lambda: asker.request("oracle:s", "question", timeout_s=60))
    (question,) = (oracle.listen(timeout_s=DEADLINE_S, max_per_poll=1).__next__(),)
    newest(oracle)

    kept = oracle.prune(0, grace_s=0).kept
    delete_all_but_waited_for(oracle)
    oracle.reply(question, "answer", 42)
    answer = asking.outcome()
    after = oracle.prune(0, grace_s=0)

    assert (kept, answer.body) == (1, 42)
    assert (after.messages, after.kept) == (2, 0)
    assert not is_there(foreign, question.id)
    # The server has only the id of the request.
    with pytest.raises(
        (ExpiredError, MessageNotFoundError), match=r"then deleted: its sender no longer waits|was pruned"
    ):
        oracle.reply(question, "answer", 43)


def test_only_the_answer_of_one_who_was_asked_ends_the_protection_of_a_request(
    connect: Connect, foreign: Foreign
) -> None:
    asker, oracle, forger = connect("asker:s"), connect("oracle:s"), connect("forger:s")
    asking = Asking(lambda: asker.request("oracle:s", "question", timeout_s=60))
    question = next(iter(oracle.listen(timeout_s=DEADLINE_S)))
    assert question.reply_address is not None
    forger.send("elsewhere:s", "answer", 1, reply_to=question.id)
    # The same address, but sent by one who was not asked, and late, so that the asker takes the true answer.
    forger.send(question.reply_address, "answer", 2, reply_to=question.id, delay_s=50, expires_in_s=55)

    delete_all_but_waited_for(oracle)
    oracle.reply(question, "answer", 42)

    assert asking.outcome().body == 42


def test_a_request_of_the_retention_s_own_traffic_is_answered(connect: Connect) -> None:
    options = {"retention": {"max_messages": 5, "grace_s": 0}}
    asker, oracle, chatter = (connect(address, **options) for address in ("asker:s", "oracle:s", "chatter:s"))
    asking = Asking(lambda: asker.request("oracle:s", "question", timeout_s=60))
    question = next(iter(oracle.listen(timeout_s=DEADLINE_S)))

    for _ in range(250):
        newest(chatter)
    oracle.reply(question, "answer", 42)

    assert asking.outcome().body == 42
    assert chatter.stats().messages < 250


@pytest.mark.parametrize("way_to_go", ["retention", "prune"])
def test_a_finished_message_stays_for_the_grace(hosted: Hosted, foreign: Foreign, way_to_go: str) -> None:
    bus = hosted("worker:s", retention={"max_messages": 1, "max_age_s": 0.001, "max_bytes": 1})

    def delete() -> None:
        if way_to_go == "retention":
            bus.run_maintenance()
        else:
            bus.prune(0)

    for _ in range(20):
        newest(bus)
    delete()
    receipts = [bus.wait_receipt(id, timeout_s=0)[0].state for id in range(1, 21)]
    finish_earlier(foreign)
    late = bus.send("worker:s", "note")
    foreign.execute("UPDATE messages SET created_at = 1 WHERE id = ?", late.id)
    bus.ack(late.id)
    newest(bus)
    delete()

    assert receipts == ["acked"] * 20
    # The 21st was sent long ago, and finished just now.
    assert [row[0] for row in foreign.execute("SELECT id FROM messages")] == [21, 22]


def test_a_prune_says_how_many_it_keeps_and_a_dry_run_says_the_same(connect: Connect) -> None:
    bus = connect("worker:s")
    for _ in range(5):
        newest(bus)

    counts = [bus.prune(0, dry_run=True), bus.prune(0), bus.prune(0, grace_s=0, dry_run=True), bus.prune(0, grace_s=0)]

    assert [(pruned.messages, pruned.kept, pruned.candidates) for pruned in counts] == [
        (0, 4, 4),
        (0, 4, 4),
        (4, 0, 4),
        (4, 0, 4),
    ]


@pytest.mark.parametrize("ending", ["acked", "dead"])
def test_what_a_program_waits_for_now_is_not_deleted(db: str, hosted: Hosted, foreign: Foreign, ending: str) -> None:
    bus = hosted("worker:s", retention={"max_messages": 1, "grace_s": 0})
    awaited, other = (bus.send("worker:s", "note", max_attempts=1).id for _ in range(2))
    for id in (awaited, other):
        bus.claim()
        if ending == "acked":
            bus.ack(id)
        else:
            bus.nack(id)
    newest(bus)
    finish_earlier(foreign)
    # A waiter that is stopped, or has not looked again yet: its doorbell is there.
    doorbell = Doorbells(db).create(receipt_address(awaited))

    delete_all_but_waited_for(bus)
    bus.run_maintenance()
    while_waited_for = is_there(foreign, awaited), is_there(foreign, other)
    doorbell.close()
    delete_all_but_waited_for(bus)

    assert while_waited_for == (True, False)
    assert not is_there(foreign, awaited)


@both_ways
@pytest.mark.parametrize("ending", ["acked", "dead", "expired"])
def test_a_wait_for_receipts_ends_truly_however_soon_the_message_goes(db: str, connect: Connect, ending: str) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    for _ in range(15):
        message = boss.send("worker:s", "job", max_attempts=1, expires_in_s=0.3 if ending == "expired" else None)
        waiting = Asking(lambda id=message.id: boss.wait_receipt(id, timeout_s=DEADLINE_S))  # type: ignore[misc]
        wait_for_waiting(db, receipt_address(message.id))
        if ending == "expired":
            wait_until(lambda id=message.id: boss.receipts(id)[0].state == "expired", "the expiry")  # type: ignore[misc]
        else:
            worker.claim()
            worker.ack(message.id) if ending == "acked" else worker.nack(message.id, reason="no good")
        newest(worker)
        delete_all_but_waited_for(worker)
        outcome = waiting.outcome()

        if ending == "acked":
            assert [receipt.state for receipt in outcome] == ["acked"], outcome
        else:
            assert isinstance(outcome, UndeliveredError)


@both_ways
def test_after_a_purge_the_sender_can_still_ask_what_became_of_a_message(connect: Connect, foreign: Foreign) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    message = boss.send("worker:s", "job", max_attempts=1)
    worker.claim()
    worker.nack(message.id, reason="no good")
    newest(worker)

    assert boss.purge_dead() == 1
    assert boss.dead() == []
    with pytest.raises(UndeliveredError, match="expired, no good"):
        boss.wait_receipt(message.id, timeout_s=0)
    assert boss.prune(0, grace_s=0).messages == 1


def test_an_open_request_whose_delivery_is_dead_can_be_answered_after_a_purge(connect: Connect) -> None:
    asker, oracle = connect("asker:s"), connect("oracle:s")
    asking = Asking(lambda: asker.request("oracle:s", "question", timeout_s=60, max_attempts=1))
    question = next(iter(oracle.listen(ack="manual", timeout_s=DEADLINE_S)))
    wait_until(oracle.dead, "the release of the loop that has ended")
    newest(oracle)

    assert oracle.purge_dead() == 1
    delete_all_but_waited_for(oracle)
    oracle.reply(question, "answer", 42)

    assert asking.outcome().body == 42


@both_ways
def test_a_wait_for_a_message_that_another_program_deletes_says_so(db: str, connect: Connect, foreign: Foreign) -> None:
    boss = connect("boss:s")
    message = boss.send("worker:s", "job")
    waiting = Asking(lambda: boss.wait_receipt(message.id, timeout_s=DEADLINE_S))
    wait_for_waiting(db, receipt_address(message.id))

    # The message first: between the two, the wait must not find a message without recipients, which has no receipts.
    foreign.execute("DELETE FROM messages")
    foreign.execute("DELETE FROM deliveries")

    error = waiting.outcome()
    assert isinstance(error, MessageNotFoundError)
    assert "was deleted during the wait" in str(error)


def test_a_message_of_a_clock_that_was_ahead_is_not_kept_for_its_grace(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    newest(bus)
    newest(bus)
    foreign.execute("UPDATE deliveries SET finished_at = finished_at + ?", 3600 * 1_000_000)

    assert bus.prune(0).messages == 1
