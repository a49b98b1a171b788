"""A claim and its end wake exactly the consumers that can work, by push."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from raven.wake.doorbell import Doorbells
from scripts.harness.deadline import Limit
from tests.client_process import Actor
from tests.support import NEVER_POLLS_S, Program, wait_for_waiting

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
WORKER = "worker:s"
# Far below the poll interval, and far above the time of a wake.
AT_ONCE_S = Limit(5.0)


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Return a client of the worker address."""
    return connect(WORKER)


@pytest.fixture
def wait(db: str, bus: BusClient, spawn: Spawn) -> Callable[[str], Program]:
    """Start consumers that wait and never poll, each in a process of its own."""

    def start(mode: str) -> Program:
        program = spawn("subscriber", db, WORKER, json.dumps({"mode": mode, "poll_interval_s": NEVER_POLLS_S}))
        wait_for_waiting(db, WORKER)
        return program

    return start


def test_a_claim_and_an_ack_wake_no_consumer_at_the_address(db: str, bus: BusClient) -> None:
    bus.send_many([{"to": WORKER, "type": "job"}] * 2)
    doorbell = Doorbells(db).create(WORKER)
    assert not doorbell.wait(0)

    bus.claim(max=2)
    bus.ack(1)
    rang_by_then = doorbell.wait(0)
    bus.nack(2)

    assert (rang_by_then, doorbell.wait(0)) == (False, True)
    doorbell.close()


@pytest.mark.parametrize("delay_s", [0, 0.5])
@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_a_nack_wakes_a_waiting_consumer_in_time(
    bus: BusClient, wait: Callable[[str], Program], mode: str, delay_s: float
) -> None:
    bus.send(WORKER, "job")
    bus.claim(lease_s=3600)
    program = wait(mode)

    given_at = time.monotonic()
    bus.nack(1, delay_s=delay_s)

    assert delay_s <= program.read()["heard_at"] - given_at < delay_s + AT_ONCE_S


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_the_end_of_a_dead_consumers_lease_wakes_a_waiting_one_in_time(
    db: str, bus: BusClient, spawn: Spawn, wait: Callable[[str], Program], mode: str
) -> None:
    bus.send(WORKER, "job")
    consumer = Actor(spawn("actor", db, WORKER))
    consumer.call("claim", lease_s=3600)
    program = wait(mode)

    # The waiting consumer knows of a due time in an hour only, so it must be woken.
    consumer.call("extend", 1, lease_s=0.4)
    extended_at = time.monotonic()
    consumer.program.kill()

    assert 0.3 < program.read()["heard_at"] - extended_at < AT_ONCE_S


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_a_requeue_or_a_release_by_a_leaving_consumer_wakes_a_waiting_one(
    bus: BusClient, wait: Callable[[str], Program], mode: str
) -> None:
    bus.send(WORKER, "job", max_attempts=1)
    bus.claim(lease_s=3600)
    bus.send(WORKER, "job")
    loop: Any = bus.listen(ack="manual", lease_s=3600)
    next(loop)
    program = wait(mode)

    bus.nack(1)
    began = time.monotonic()
    bus.requeue(1)
    requeued = program.read()
    loop.close()
    given_back = program.read()

    assert (requeued["id"], given_back["id"]) == (1, 2)
    assert given_back["heard_at"] - began < AT_ONCE_S
