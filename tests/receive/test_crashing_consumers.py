"""Consumers that die, stop or are slow: their messages come again, and only after the lease has ended."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable

import pytest

from raven import BusClient, UndeliveredError
from scripts.harness.deadline import Limit
from tests.support import DEADLINE_S, NEVER_POLLS_S, Foreign, Program, read_all, wait_for_waiting, wait_until

Connect = Callable[..., BusClient]
Consume = Callable[..., Program]
WORKER = "worker:s"
LEASE_S = 1.0
# The longest time from the end of a lease to the next delivery of its message.
SOON_S = Limit(0.5)


@pytest.fixture
def boss(connect: Connect) -> BusClient:
    """Return a client that sends."""
    return connect("boss:s")


@pytest.fixture
def consume(db: str, spawn: Callable[..., Program]) -> Consume:
    """Start consumers of the worker's mail which are woken by doorbells, and never poll."""

    def start(mode: str, lease_s: float = LEASE_S, **options: object) -> Program:
        polls = {} if mode == "claim" else {"poll_interval_s": NEVER_POLLS_S}
        return spawn("consumer", db, WORKER, json.dumps({"mode": mode, "lease_s": lease_s, **polls, **options}))

    return start


def test_the_messages_of_a_killed_consumer_come_to_a_waiting_one_when_their_lease_ends(
    boss: BusClient, consume: Consume, db: str
) -> None:
    id = boss.send(WORKER, "job").id
    killed = consume("claim")
    first = killed.read()
    killed.kill()
    waiting = consume("listen", works=True)

    again = waiting.read()

    assert (again["id"], first["attempts"], again["attempts"]) == (id, 1, 2)
    assert LEASE_S - SOON_S < again["heard_at"] - first["heard_at"] < LEASE_S + SOON_S
    assert waiting.read() == {"acked": id}


def test_one_that_waits_already_is_woken_when_the_lease_of_a_killed_consumer_ends(
    boss: BusClient, consume: Consume, db: str
) -> None:
    both = [consume("listen"), consume("listen")]
    wait_for_waiting(db, WORKER, 2)
    id = boss.send(WORKER, "job").id
    ((winner, first),) = ((one, lines[0]) for one, lines in read_all(both, 1).items() if lines)
    winner.kill()
    (other,) = (one for one in both if one is not winner)

    again = other.read()

    assert (again["id"], first["attempts"], again["attempts"]) == (id, 1, 2)
    assert again["heard_at"] - first["heard_at"] < LEASE_S + SOON_S


def test_a_lease_that_was_renewed_ends_within_its_span_after_a_kill(boss: BusClient, consume: Consume) -> None:
    boss.send(WORKER, "job")
    killed = consume("listen")
    killed.read()
    _outlive_a_lease(boss)
    killed.kill()
    killed_at = time.monotonic()

    again = consume("listen").read()

    assert again["attempts"] == 2
    assert again["heard_at"] - killed_at < LEASE_S + SOON_S


def test_messages_prefetched_by_a_killed_subscriber_lose_no_attempt(
    boss: BusClient, consume: Consume, spawn: Callable[..., Program], foreign: Foreign, db: str
) -> None:
    # Two fetches, of one and of two messages: the third message is prefetched while the second is in flight.
    boss.send_many([{"to": WORKER, "type": "job", "body": n} for n in range(3)])
    automatic = spawn("subscriber", db, WORKER, json.dumps({"hold_after": 2}))
    in_hand = [automatic.read()["id"] for _ in range(2)]
    assert foreign.value("SELECT count(*) FROM deliveries WHERE lease IS NOT NULL AND state = 0") == 1
    automatic.kill()

    left = consume("listen").read()

    assert (left["id"], left["attempts"]) == (in_hand[-1] + 1, 1)


def test_a_message_that_kills_each_consumer_ends_dead_and_its_sender_hears_of_it(
    boss: BusClient, consume: Consume, connect: Connect
) -> None:
    poison = boss.send(WORKER, "poison", report="undelivered", max_attempts=3).id
    for attempt in (1, 2, 3):
        consumer = consume("listen", lease_s=0.3)
        assert consumer.read()["attempts"] == attempt
        consumer.kill()

    with pytest.raises(UndeliveredError, match=rf"{WORKER}: dead, attempt 3 of 3 ended without an ack"):
        boss.wait_receipt(poison, timeout_s=DEADLINE_S)

    (report,) = boss.claim()
    assert (report.type, report.sender, report.reply_to) == ("raven.undelivered", WORKER, poison)
    assert (report.body["state"], report.body["attempts"]) == ("dead", 3)
    assert report.body["reason"] == boss.dead()[0].reason
    assert connect(WORKER).claim() == []


def test_a_waiting_sender_is_woken_by_the_report_of_a_dead_delivery(
    boss: BusClient, consume: Consume, spawn: Callable[..., Program], db: str
) -> None:
    listening = spawn("subscriber", db, boss.address, json.dumps({"poll_interval_s": NEVER_POLLS_S}))
    wait_for_waiting(db, boss.address)
    poison = boss.send(WORKER, "poison", report="undelivered", max_attempts=1).id
    consumer = consume("claim")
    claimed = consumer.read()
    consumer.kill()

    report = listening.read()

    assert report["body"]["message_id"] == poison
    assert report["heard_at"] - claimed["heard_at"] < LEASE_S + SOON_S


def test_a_consumer_that_stood_still_is_refused_its_late_ack_and_takes_the_next_message(
    boss: BusClient, consume: Consume
) -> None:
    id = boss.send(WORKER, "job").id
    stopped = consume("listen", max_per_poll=1)
    stopped.read()
    stopped.signal(signal.SIGSTOP)
    second = consume("listen", max_per_poll=1)
    again = second.read()
    stopped.signal(signal.SIGCONT)

    refused = stopped.ask("ack")
    next_id = boss.send(WORKER, "job").id

    assert (again["id"], again["attempts"]) == (id, 2)
    assert refused == {"error": "LeaseLostError"}
    assert boss.receipts(id)[0].state == "delivered"
    assert stopped.read()["id"] == next_id
    assert second.ask("ack") == {"acked": id}


def _outlive_a_lease(boss: BusClient) -> None:
    """Wait for three different ends of the current lease: each renewal moves the end."""
    ends = {_lease_ends(boss)}
    until = time.monotonic() + 1.5 * LEASE_S
    wait_until(lambda: ends.add(_lease_ends(boss)) or (len(ends) >= 4 and time.monotonic() > until), "renewals")


def _lease_ends(boss: BusClient) -> int:
    ((ends,),) = boss.execute("SELECT ready_at FROM deliveries WHERE lease IS NOT NULL")
    return int(ends)
