"""Exactly once: the ack, the worker's own rows and its sends are one commit, or do not happen."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from raven import BusClient, LeaseLostError
from tests.support import DEADLINE_S, Foreign, Program, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
# Ends before a test checks it, but not before the test needs it.
SHORT_S = 0.05


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Return a worker with a table of its own."""
    worker = connect("worker:s")
    worker.execute("CREATE TABLE done (id INTEGER, by TEXT)")
    return worker


def consume(bus: BusClient, id: int, by: str) -> None:
    """Process a message in one commit; the ack comes last, so that a refused ack has writes to undo."""
    with bus.transaction() as tx:
        tx.execute("INSERT INTO done VALUES (?, ?)", (id, by))
        tx.send("next:s", "done", by)
        tx.ack(id)


def claim_again(bus: BusClient) -> None:
    """Claim a message after the lease of another consumer has ended."""
    wait_until(bus.claim, "the end of the lease")


def done(foreign: Foreign) -> list[Any]:
    return foreign.execute("SELECT id, by FROM done ORDER BY id, by")


def sent_on(foreign: Foreign) -> list[Any]:
    return [row[0] for row in foreign.execute("SELECT body ->> '$' FROM messages WHERE type = 'done' ORDER BY id")]


def test_an_ack_a_send_and_an_own_row_come_in_one_commit(bus: BusClient, foreign: Foreign) -> None:
    sent = bus.send("worker:s", "job")
    (msg,) = bus.claim()

    with bus.transaction() as tx:
        tx.ack(msg.id)
        tx.send("next:s", "done", "worker")
        tx.execute("INSERT INTO done VALUES (?, 'worker')", (msg.id,))
        seen = done(foreign), sent_on(foreign), foreign.value("SELECT state FROM log WHERE id = ?", sent.id)

    assert seen == ([], [], 1)
    assert (done(foreign), sent_on(foreign)) == ([[sent.id, "worker"]], ["worker"])
    assert bus.read(sent.id).state == "acked"


def test_a_failed_transaction_can_be_repeated_under_the_same_lease(bus: BusClient, foreign: Foreign) -> None:
    sent = bus.send("worker:s", "job")
    (msg,) = bus.claim()

    with suppress(ZeroDivisionError), bus.transaction():
        consume(bus, msg.id, "first try")
        raise ZeroDivisionError
    state = bus.read(sent.id).state
    consume(bus, msg.id, "second try")

    assert state == "delivered"
    assert (done(foreign), sent_on(foreign)) == ([[sent.id, "second try"]], ["second try"])
    assert bus.read(sent.id).attempts == 1


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_consumer_that_comes_too_late_leaves_no_row_and_sends_nothing(
    bus: BusClient, connect: Connect, foreign: Foreign, is_finished: bool
) -> None:
    sent = bus.send("worker:s", "job")
    late = connect("worker:s")
    late.claim(lease_s=SHORT_S)
    claim_again(bus)

    if is_finished:
        consume(bus, sent.id, "quick")
    with pytest.raises(LeaseLostError):
        consume(late, sent.id, "late")
    if not is_finished:
        consume(bus, sent.id, "quick")

    assert (done(foreign), sent_on(foreign)) == ([[sent.id, "quick"]], ["quick"])
    assert bus.read(sent.id).attempts == 2


def test_of_several_messages_in_one_commit_one_lost_lease_undoes_them_all(
    bus: BusClient, connect: Connect, foreign: Foreign
) -> None:
    late = connect("worker:s")
    lost = bus.send("worker:s", "job").id
    late.claim(lease_s=SHORT_S)
    claim_again(bus)
    kept = bus.send("worker:s", "job").id
    late.claim()

    def work() -> None:
        with late.transaction():
            consume(late, kept, "late")
            consume(late, lost, "late")

    with pytest.raises(LeaseLostError):
        work()

    assert (done(foreign), sent_on(foreign)) == ([], [])
    consume(late, kept, "late")
    assert done(foreign) == [[kept, "late"]]


def test_a_lost_lease_that_is_caught_leaves_the_rest_of_the_block_as_it_is(
    bus: BusClient, connect: Connect, foreign: Foreign
) -> None:
    late = connect("worker:s")
    lost = bus.send("worker:s", "job").id
    late.claim(lease_s=SHORT_S)
    claim_again(bus)
    kept = bus.send("worker:s", "job").id
    late.claim()

    with late.transaction():
        with pytest.raises(LeaseLostError):
            consume(late, lost, "late")
        consume(late, kept, "late")

    assert (done(foreign), sent_on(foreign)) == ([[kept, "late"]], ["late"])


@pytest.mark.parametrize("inside", [True, False])
def test_a_consumer_that_is_killed_leaves_its_message_to_the_next_and_nothing_else(
    db: str, bus: BusClient, spawn: Spawn, foreign: Foreign, inside: bool
) -> None:
    sent = bus.send("worker:s", "job", "of the killed")
    victim = spawn("exact_consumer", db, "worker:s", SHORT_S)
    assert victim.read() == {"id": sent.id, "attempts": 1}
    if inside:
        assert victim.ask(None) == "inside"

    victim.kill()

    assert (done(foreign), sent_on(foreign)) == ([], [])
    (msg,) = wait_until(bus.claim, "the message of the killed")
    consume(bus, msg.id, "next")
    assert (msg.id, msg.attempts) == (sent.id, 2)
    assert (done(foreign), sent_on(foreign)) == ([[sent.id, "next"]], ["next"])


def test_a_consumer_that_was_stopped_for_longer_than_its_lease_rolls_back(
    db: str, bus: BusClient, spawn: Spawn, foreign: Foreign
) -> None:
    sent = bus.send("worker:s", "job", "of the stopped")
    stopped = spawn("exact_consumer", db, "worker:s", SHORT_S)
    stopped.read()
    claim_again(bus)
    consume(bus, sent.id, "next")

    outcome = stopped.ask(None)

    assert outcome == {"lost": True}
    assert (done(foreign), sent_on(foreign)) == ([[sent.id, "next"]], ["next"])


def test_many_consumers_of_one_address_count_each_message_once(
    bus: BusClient, connect: Connect, foreign: Foreign
) -> None:
    """With leases too short for the work, many are lost, and each loss rolls its commit back."""
    sent = bus.send_many([{"to": "worker:s", "type": "job", "max_attempts": 1000} for _ in range(40)])
    workers = [connect("worker:s") for _ in range(4)]

    def work(worker: BusClient) -> None:
        while worker.inbox(peek=True):
            for msg in worker.claim(max=8, lease_s=0.01):
                with suppress(LeaseLostError):
                    consume(worker, msg.id, "once")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, workers, timeout=2 * DEADLINE_S))

    assert done(foreign) == [[msg.id, "once"] for msg in sent]
    assert sent_on(foreign) == ["once"] * len(sent)
    assert bus.dead() == []
