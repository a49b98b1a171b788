"""Waits for receipts take no CPU time, and leave nothing behind when a signal ends them."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable

import pytest

from raven import BusClient, WaitTimeoutError
from raven.wake.doorbell import receipt_address
from tests.client_process import Actor
from tests.support import Program, bells, wait_for_waiting, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


def sleeps(bus: BusClient, message_id: int, timeout_s: float) -> int:
    """Return how often this thread slept in a wait that timed out."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    with pytest.raises(WaitTimeoutError):
        bus.wait_receipt(message_id, timeout_s=timeout_s)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_THREAD"), reason="no figures of one thread here")
@pytest.mark.parametrize("expires_in_s", [None, 60, 0.3])
def test_a_wait_for_a_leased_delivery_sleeps(connect: Connect, expires_in_s: float | None) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    sent = boss.send("worker:s", "note", expires_in_s=expires_in_s)
    worker.claim(lease_s=60)
    wait_until(lambda: time.time() > sent.created_at.timestamp() + 0.3, "the end of the shortest life")

    assert sleeps(boss, sent.id, 1) < 60


@pytest.mark.parametrize("method", ["wait_receipt", "wait_receipt_async"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_wait_for_receipts_leaves_nothing_behind(
    db: str, connect: Connect, spawn: Spawn, method: str, number: signal.Signals
) -> None:
    sent = connect("boss:s").send("worker:s", "note")
    program = Actor(spawn("actor", db, "waiter:s"))
    program.begin(method, sent.id)
    wait_for_waiting(db, receipt_address(sent.id))

    program.program.signal(number)

    if number == signal.SIGINT:
        assert program.error()["error"][0] == "KeyboardInterrupt"
    else:
        assert program.program.wait() == 143
    assert bells(db) == []
