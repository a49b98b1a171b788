"""Due timers: any waiter on the bus applies them soon, and a read applies them at the latest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from raven import BusClient
from scripts.harness.deadline import Limit
from tests.support import DEADLINE_S, NEVER_POLLS_S, Foreign, Program, wait_for_watch, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
WORKER = "worker:s"
# The WAL watcher polls several times a second; a busy machine may delay it.
SOON_S = Limit(1.5)


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Return a client of the worker that never waits."""
    return connect(WORKER)


@pytest.fixture
def watch(db: str, spawn: Spawn) -> Callable[[], Program]:
    """Start another process that waits on the bus, and so runs the WAL watcher."""

    def start() -> Program:
        program = spawn("subscriber", db, "elsewhere:s", json.dumps({"poll_interval_s": NEVER_POLLS_S}))
        wait_for_watch(db, program)
        return program

    return start


def state(foreign: Foreign, message_id: int = 1) -> int:
    """Return the state in the file, without applying due timers: 3 is expired, 4 dead."""
    number = foreign.value("SELECT state FROM deliveries WHERE id >> 20 = ?", message_id)
    assert isinstance(number, int)
    return number


def end_last_lease(bus: BusClient, foreign: Foreign, lease_s: float = 0.2) -> float:
    """Let the lease of a message's only attempt end, and return its time."""
    bus.send(WORKER, "job", max_attempts=1)
    (message,) = bus.claim(lease_s=lease_s)
    ready_at = foreign.value("SELECT ready_at FROM deliveries WHERE id >> 20 = ?", message.id)
    return float(ready_at / 1e6)


def test_while_any_process_waits_the_end_of_a_last_lease_is_death_soon(
    bus: BusClient, watch: Callable[[], Program], foreign: Foreign
) -> None:
    watch()
    ended_at = end_last_lease(bus, foreign)

    wait_until(lambda: state(foreign) == 4, "the death", DEADLINE_S)

    assert 0 <= time.time() - ended_at < SOON_S


def test_while_any_process_waits_expiry_and_due_timers_are_applied_soon(
    bus: BusClient, watch: Callable[[], Program], foreign: Foreign
) -> None:
    watch()
    bus.send("nobody:s", "job", expires_in_s=0.2)
    bus.send("nobody:s", "job", delay_s=0.2)
    began = time.monotonic()

    wait_until(lambda: state(foreign) == 3, "the expiry")
    wait_until(lambda: foreign.value("SELECT ready_at FROM deliveries WHERE id >> 20 = 2") == 0, "the end of a delay")

    assert time.monotonic() - began < 0.2 + SOON_S


def test_a_lease_that_ended_during_another_write_is_released_soon_after(
    bus: BusClient, watch: Callable[[], Program], foreign: Foreign
) -> None:
    watch()
    ended_at = end_last_lease(bus, foreign, lease_s=1.0)
    foreign.execute("BEGIN IMMEDIATE")
    wait_until(lambda: time.time() > ended_at + 0.3, "the end of the lease")
    while_another_wrote = state(foreign)

    foreign.execute("COMMIT")
    released_at = time.monotonic()
    wait_until(lambda: state(foreign) == 4, "the death")

    assert while_another_wrote == 1
    assert time.monotonic() - released_at < SOON_S


def test_a_new_wal_watcher_applies_earlier_due_timers(
    db: str, bus: BusClient, watch: Callable[[], Program], foreign: Foreign
) -> None:
    watch().kill()
    ended_at = end_last_lease(bus, foreign)
    wait_until(lambda: time.time() > ended_at, "the end of the lease")
    assert state(foreign) == 1

    watch()

    wait_until(lambda: state(foreign) == 4, "the death", SOON_S)


def test_to_ask_for_the_dead_or_a_receipt_does_not_wait_for_another_writer(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign
) -> None:
    bus = connect(WORKER, busy_timeout_s=60)
    ended_at = end_last_lease(bus, foreign)
    writer = spawn("lock_holder", db)
    writer.read()
    wait_until(lambda: time.time() > ended_at, "the end of the lease")

    began = time.monotonic()
    dead, (receipt,) = bus.dead(), bus.receipts(1)
    took_s = time.monotonic() - began
    writer.ask(None)

    assert took_s < Limit(DEADLINE_S / 2)
    assert (dead, receipt.state, receipt.leased) == ([], "delivered", False)
    assert [message.id for message in bus.dead()] == [1]


def test_the_dead_stay_when_old_messages_are_pruned(bus: BusClient, foreign: Foreign) -> None:
    end_last_lease(bus, foreign)
    bus.send(WORKER, "job", max_attempts=1)
    bus.claim()
    bus.nack(2)
    bus.ack(bus.send(WORKER, "job").id)
    bus.send("nobody:s", "job", expires_in_s=1e-6)
    bus.send(WORKER, "job")
    wait_until(lambda: len(bus.dead()) == 2, "both deaths")

    pruned = bus.prune(0, grace_s=0)

    assert pruned.messages == 2
    assert [message.id for message in bus.dead()] == [1, 2]
    assert bus.requeue(all=True) == 2
    assert [message.id for message in bus.claim(max=10)] == [1, 2, 5]


def test_a_delivery_without_its_message_does_not_block_due_timers_of_others(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    orphan, other = (bus.send("worker:s", "note", max_attempts=1) for _ in range(2))
    bus.claim(max=2, lease_s=0.01)
    foreign.execute("DELETE FROM messages WHERE id = ?", orphan.id)
    time.sleep(0.02)

    assert [message.id for message in bus.dead()] == [other.id]
