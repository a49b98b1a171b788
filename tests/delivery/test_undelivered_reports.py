"""Reports: a sender that asks for reports gets one for each expired or dead delivery."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from raven import BusClient, BusObserver, Message
from scripts.harness.deadline import Limit
from tests.support import DEADLINE_S, NEVER_POLLS_S, Foreign, ForeignError, Program, wait_for_waiting, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
BOSS, WORKER = "boss:s", "worker:s"
TOO_LATE = "it expired before a consumer claimed it"
# Far below the poll interval, and far above the time of a wake-up.
AT_ONCE_S = Limit(5.0)


@pytest.fixture
def boss(connect: Connect) -> BusClient:
    """Return the client that sends and gets the reports."""
    return connect(BOSS)


@pytest.fixture
def worker(connect: Connect) -> BusClient:
    """Return the client whose deliveries fail."""
    return connect(WORKER)


def reports(boss: BusClient) -> list[Message]:
    boss.dead()  # applies due timers
    return [message for message in boss.inbox(max=5000) if message.type == "raven.undelivered"]


def test_a_report_about_an_expired_message_has_all_its_fields(boss: BusClient) -> None:
    options: dict[str, Any] = {"urgency": "blocking", "correlation_id": "c", "task_id": "t"}
    boss.send(WORKER, "job", {"x": 1}, report="undelivered", expires_in_s=1e-6, **options)

    (report,) = reports(boss)

    assert (report.sender, report.recipient, report.to) == (WORKER, BOSS, BOSS)
    assert (report.urgency, report.correlation_id, report.task_id, report.reply_to) == ("blocking", "c", "t", 1)
    assert (report.expires_at, report.report, report.dedup_key, report.tags) == (None, None, None, ())
    assert report.body == {
        "message_id": 1, "recipient": WORKER, "type": "job", "state": "expired", "attempts": 0, "reason": TOO_LATE,
    }  # fmt: skip
    assert [message.id for message in boss.thread(1)] == [1, 2]


@pytest.mark.parametrize("death", ["nack", "lease end", "release"])
def test_a_report_of_a_death_says_why(boss: BusClient, worker: BusClient, death: str) -> None:
    boss.send(WORKER, "job", report="undelivered", max_attempts=2)
    worker.claim()
    worker.nack(1, reason="no room")
    if death == "release":
        next(worker.listen(ack="manual"))
    else:
        worker.claim(lease_s=0.05)
        if death == "nack":
            worker.nack(1, reason="no time")

    (report,) = wait_until(lambda: reports(boss), "the report")

    why = {"nack": "no time", "lease end": "attempt 2 of 2 ended without an ack: its lease ran out",
           "release": "attempt 2 of 2 ended without an ack: it was released"}  # fmt: skip
    assert (report.sender, report.reply_to) == (WORKER, 1)
    assert report.body == {
        "message_id": 1, "recipient": WORKER, "type": "job", "state": "dead", "attempts": 2, "reason": why[death],
    }  # fmt: skip


@pytest.mark.parametrize("end", ["expiry", "lease end", "nack"])
@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_a_report_wakes_a_waiting_sender_even_if_no_process_reads_the_mailbox(
    db: str, boss: BusClient, worker: BusClient, spawn: Spawn, mode: str, end: str
) -> None:
    program = spawn("subscriber", db, BOSS, json.dumps({"mode": mode, "poll_interval_s": NEVER_POLLS_S}))
    wait_for_waiting(db, BOSS)
    began = time.monotonic()

    boss.send(WORKER, "job", report="undelivered", max_attempts=1, expires_in_s=0.3 if end == "expiry" else None)
    if end != "expiry":
        worker.claim(lease_s=0.3)
    if end == "nack":
        worker.nack(1)

    line = program.read()
    assert (line["sender"], line["body"]["state"]) == (WORKER, "expired" if end == "expiry" else "dead")
    assert line["heard_at"] - began < AT_ONCE_S


def test_each_recipient_that_a_message_does_not_reach_has_a_report_of_its_own(
    boss: BusClient, worker: BusClient, connect: Connect
) -> None:
    quick = connect("quick:s")
    boss.send(["quick:s", "gone:s", WORKER], "job", report="undelivered", max_attempts=1, expires_in_s=0.3)
    quick.claim()
    quick.ack(1)
    worker.claim()
    worker.nack(1, reason="no")

    received = wait_until(lambda: len(both := reports(boss)) == 2 and both, "both reports")

    assert [(one.sender, one.body["recipient"], one.body["state"]) for one in received] == [
        (WORKER, WORKER, "dead"), ("gone:s", "gone:s", "expired"),
    ]  # fmt: skip


def test_without_asking_there_is_no_report(boss: BusClient, worker: BusClient) -> None:
    boss.send(WORKER, "job", expires_in_s=1e-6)
    boss.send(WORKER, "job", max_attempts=1)
    worker.claim(max=10)
    worker.nack(2)

    assert reports(boss) == []
    assert ([boss.read(id).state for id in (1, 2)], boss.last_id()) == (["expired", "dead"], 2)


def test_an_acked_message_is_not_reported_even_after_its_expiry(boss: BusClient, worker: BusClient) -> None:
    sent = boss.send(WORKER, "job", report="undelivered", expires_in_s=0.1)
    worker.claim()
    wait_until(lambda: time.time() > sent.created_at.timestamp() + 0.1, "the end of its time")
    worker.ack(1)

    assert (reports(boss), boss.last_id()) == ([], 1)


def test_a_report_never_makes_another_report(boss: BusClient) -> None:
    boss.send(WORKER, "job", report="undelivered", expires_in_s=1e-6)
    (report,) = reports(boss)

    for _ in range(5):
        assert boss.claim()
        boss.nack(report.id)

    assert [message.id for message in boss.dead()] == [report.id]
    assert boss.last_id() == report.id


def test_a_sender_to_itself_gets_a_report_for_each_death(boss: BusClient) -> None:
    boss.send(BOSS, "job", report="undelivered", max_attempts=1)

    for _ in range(2):
        boss.claim()
        assert boss.nack(1) == "dead"
        boss.requeue(1)

    assert [(report.sender, report.reply_to) for report in reports(boss)] == [(BOSS, 1)] * 2


def test_a_death_that_is_rolled_back_is_not_reported(boss: BusClient, worker: BusClient) -> None:
    boss.send(WORKER, "job", report="undelivered", max_attempts=1)
    worker.claim()

    with suppress(ZeroDivisionError), worker.transaction() as tx:
        assert tx.nack(1) == "dead"
        raise ZeroDivisionError

    assert (reports(boss), boss.receipts(1)[0].leased) == ([], True)


def test_each_of_many_expired_messages_is_reported_once(db: str, boss: BusClient, worker: BusClient) -> None:
    boss.send_many([{"to": WORKER, "type": "job", "report": "undelivered", "expires_in_s": 0.001}] * 1500)
    start = threading.Barrier(3)

    def peek() -> None:
        with BusObserver(db) as observer:
            start.wait(DEADLINE_S)
            observer.receipts(1500)
            observer.dead()

    threads = [threading.Thread(target=peek) for _ in range(2)]
    for thread in threads:
        thread.start()
    start.wait(DEADLINE_S)
    assert worker.claim() == []
    for thread in threads:
        thread.join(DEADLINE_S)

    received = wait_until(lambda: len(several := reports(boss)) >= 1500 and several, "all reports")
    assert sorted(report.reply_to or 0 for report in received) == [*range(1, 1501)]


def test_an_external_sender_gets_the_reports_that_it_asked_for_in_the_outbox(
    boss: BusClient, worker: BusClient, foreign: Foreign
) -> None:
    foreign.send(WORKER, sender=BOSS, report="undelivered", max_attempts=2)
    foreign.send(WORKER, sender=BOSS, report="undelivered", expires_in_s=0.001)
    foreign.send(WORKER, sender=BOSS, report=None, max_attempts=None)

    for _ in range(2):
        assert worker.claim()
        worker.nack(1, reason="no")

    states = [(report.reply_to, report.body["state"], report.body["attempts"]) for report in reports(boss)]
    assert sorted(states) == [(1, "dead", 2), (2, "expired", 0)]
    assert [boss.receipts(id)[0].max_attempts for id in (1, 2, 3)] == [2, 5, 5]
    assert [boss.read(id).report for id in (1, 2, 3)] == ["undelivered", "undelivered", None]


@pytest.mark.parametrize(
    ("column", "bad"),
    [("report", bad) for bad in ("", "all", 1, "UNDELIVERED")]
    + [("max_attempts", bad) for bad in (0, -1, 1.5, "many", "5", 1_000_001)],
)
def test_a_bad_value_in_the_outbox_is_refused(boss: BusClient, foreign: Foreign, column: str, bad: Any) -> None:
    with pytest.raises(ForeignError, match=f"raven: {column} must be"):
        foreign.send(WORKER, **{column: bad})

    assert boss.last_id() == 0
