"""Loops with `ack="manual"`: a message stays leased to its consumer until the ack, however long the work takes."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from raven import BusClient, LeaseLostError
from raven.delivery.queue_state import Lease
from raven.model.leases import Window
from raven.receive.lease_renewal import LeaseRenewer
from scripts.harness.deadline import Limit
from tests.loop import Loop
from tests.support import DEADLINE_S, NEVER_POLLS_S, Foreign, Program, leased, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
Start = Callable[..., Loop]
WORKER = "worker:s"
# Far below the poll interval and the default lease, and far above the time of a wake.
AT_ONCE_S = Limit(5.0)
both_modes = pytest.mark.parametrize("mode", ["listen", "subscribe"])


@contextmanager
def no_threads() -> Iterator[None]:
    """Keep this process from starting a thread: the stack size is larger than the address space."""
    before = threading.stack_size(1 << 50)
    try:
        yield
    finally:
        threading.stack_size(before)


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Return a client of the worker."""
    return connect(WORKER)


@pytest.fixture
def other(connect: Connect) -> BusClient:
    """Return another client of the worker."""
    return connect(WORKER)


@pytest.fixture
def start(bus: BusClient) -> Iterator[Start]:
    """Start manual loops of the worker, which end with the test."""
    loops: list[Loop] = []

    def make(mode: str = "listen", **options: Any) -> Loop:
        loops.append(Loop(bus, mode, **{"ack": "manual", "poll_interval_s": NEVER_POLLS_S, **options}))
        return loops[-1]

    yield make
    bus.close()  # ends the loops that still wait in threads
    for loop in loops:
        loop.close()


def send(bus: BusClient, count: int, **options: Any) -> None:
    bus.send_many([{"to": WORKER, "type": "job", "body": number + 1, **options} for number in range(count)])


@both_modes
def test_messages_are_yielded_leased_and_one_at_a_time(
    bus: BusClient, other: BusClient, start: Start, foreign: Foreign, mode: str
) -> None:
    send(bus, 3)

    message = next(start(mode))

    assert (message.state, message.attempts) == ("delivered", 1)
    assert message.lease
    assert leased(foreign) == 1
    assert [msg.id for msg in other.claim(max=10)] == [2, 3]


@both_modes
def test_an_ack_finishes_a_message_and_the_next_one_comes(bus: BusClient, start: Start, mode: str) -> None:
    send(bus, 3)

    ids = []
    for message in start(mode, timeout_s=0.3):
        ids.append(message.id)
        bus.ack(message.id)

    assert ids == [1, 2, 3]
    assert [(bus.read(id).state, bus.read(id).attempts) for id in ids] == [("acked", 1)] * 3


@both_modes
def test_a_lease_is_renewed_for_as_long_as_its_consumer_works(
    bus: BusClient, other: BusClient, start: Start, mode: str
) -> None:
    send(bus, 1)
    message = next(start(mode, lease_s=0.6))
    until = time.monotonic() + 2

    while time.monotonic() < until:
        assert other.claim() == []
        time.sleep(0.02)
    bus.ack(message.id)

    assert (bus.read(1).state, bus.read(1).attempts) == ("acked", 1)


def test_all_unacked_messages_are_renewed_and_nacked_ones_are_not(
    bus: BusClient, other: BusClient, start: Start
) -> None:
    send(bus, 3)
    loop = start(lease_s=0.6)
    held = [next(loop).id for _ in range(3)]

    bus.nack(2, delay_s=1.2)
    (again,) = wait_until(other.claim, "the end of the delay, which is longer than a lease")

    assert (held, again.id) == ([1, 2, 3], 2)
    assert [receipt.leased for id in (1, 3) for receipt in bus.receipts(id)] == [True, True]


def test_a_lease_that_was_extended_is_not_shortened_by_its_renewal(bus: BusClient, start: Start) -> None:
    send(bus, 2)
    loop = start(lease_s=0.3)
    next(loop)
    bus.extend(1, lease_s=60)
    ends = bus.receipts(1)[0].ready_at
    next(loop)
    before = bus.receipts(2)[0].ready_at

    wait_until(lambda: bus.receipts(2)[0].ready_at != before, "a renewal")

    assert bus.receipts(1)[0].ready_at == ends


@both_modes
def test_with_so_much_unacked_a_loop_takes_no_more_and_ends_in_time(bus: BusClient, start: Start, mode: str) -> None:
    send(bus, 5)
    began = time.monotonic()

    taken = [message.id for message in start(mode, max_per_poll=2, timeout_s=0.3)]

    assert taken == [1, 2]
    assert 0.3 <= time.monotonic() - began < AT_ONCE_S
    assert [bus.receipts(id)[0].leased for id in taken] == [False, False]
    assert [bus.read(id).attempts for id in (3, 4, 5)] == [0, 0, 0]


@both_modes
@pytest.mark.parametrize("end", ["ack", "nack", "ack in a transaction"])
def test_room_that_another_thread_makes_is_used_at_once(bus: BusClient, start: Start, mode: str, end: str) -> None:
    send(bus, 4)
    seen = start(mode, max_per_poll=3).collect()
    wait_until(lambda: len(seen) == 3, "as many as may be unacked")

    if end == "ack":
        bus.ack(2)
    elif end == "nack":
        bus.nack(2, delay_s=60)
    else:
        with bus.transaction() as tx:
            tx.ack(2)
            tx.send("boss:s", "done")

    wait_until(lambda: seen == [1, 2, 3, 4], "the next one", AT_ONCE_S)


@both_modes
def test_room_that_another_client_makes_is_used_too(bus: BusClient, other: BusClient, start: Start, mode: str) -> None:
    send(bus, 2)
    seen = start(mode, max_per_poll=1, lease_s=0.6, poll_interval_s=0.2).collect()
    wait_until(lambda: seen == [1], "as many as may be unacked")

    other.ack(1)

    wait_until(lambda: seen == [1, 2], "the next one", AT_ONCE_S)


def test_an_ack_that_is_rolled_back_makes_no_room(bus: BusClient, start: Start) -> None:
    send(bus, 2)
    loop = start(max_per_poll=1, timeout_s=0.4)
    next(loop)

    with suppress(ZeroDivisionError), bus.transaction() as tx:
        tx.ack(1)
        raise ZeroDivisionError

    assert [message.id for message in loop] == []
    assert bus.read(2).attempts == 0


def test_a_loop_goes_on_after_a_lease_that_was_lost(bus: BusClient, other: BusClient, start: Start) -> None:
    send(bus, 2)
    loop = start(max_per_poll=1, timeout_s=AT_ONCE_S, poll_interval_s=0.1)
    first = next(loop)
    other.ack(first.id)  # an ack by the holder of the message

    with pytest.raises(LeaseLostError):
        bus.ack(first.id)

    assert [message.id for message in itertools.islice(loop, 1)] == [2]


@both_modes
def test_a_message_nacked_inside_the_loop_comes_again_until_it_is_dead(bus: BusClient, start: Start, mode: str) -> None:
    send(bus, 1, max_attempts=3)
    send(bus, 1)

    seen = []
    for message in start(mode, timeout_s=0.5):
        seen.append((message.id, message.attempts, message.reason))
        if message.id == 1:
            bus.nack(1, delay_s=0.05 * (message.attempts == 1), reason=f"no {message.attempts}")
        else:
            bus.ack(2)

    assert seen == [(1, 1, None), (2, 1, None), (1, 2, "no 1"), (1, 3, "no 2")]
    assert [(msg.id, msg.reason) for msg in bus.dead()] == [(1, "no 3")]


@both_modes
def test_a_requeued_message_comes_to_a_waiting_loop_at_once(
    bus: BusClient, other: BusClient, start: Start, mode: str
) -> None:
    send(bus, 1, max_attempts=1)
    seen = start(mode).collect()
    wait_until(lambda: seen == [1], "the message")
    assert bus.nack(1) == "dead"

    assert other.requeue(1) == 1

    wait_until(lambda: seen == [1, 1], "the message once more", AT_ONCE_S)
    assert bus.read(1).attempts == 1


def test_two_loops_of_one_client_never_have_the_same(bus: BusClient, start: Start) -> None:
    send(bus, 6)
    first, second = start(), start("subscribe")

    ids = [next(loop).id for _ in range(3) for loop in (first, second)]
    first.close()

    assert ids == [1, 2, 3, 4, 5, 6]
    assert [bus.receipts(id)[0].leased for id in ids] == [False, True] * 3


def test_a_loop_that_finds_no_thread_to_renew_its_leases_says_so_and_goes_on(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    worker = connect("worker:s")
    worker.send("worker:s", "note", "leased")
    loop = Loop(worker, "listen", ack="manual", poll_interval_s=NEVER_POLLS_S)

    with no_threads(), caplog.at_level(logging.WARNING, logger="raven"):
        message = next(loop)
    loop.close()

    assert message.body == "leased"
    assert ["no thread can renew the leases" in record.message for record in caplog.records] == [True]
    assert [again.attempts for again in worker.claim()] == [2]


def test_a_loop_that_waits_for_room_is_rung_when_a_renewal_finds_that_a_lease_is_lost(connect: Connect) -> None:
    worker = connect("worker:s")
    window, woken = Window(), threading.Event()
    window.ids.add(42)
    window.has_waiter = True
    window.wake = woken.set

    renewer = LeaseRenewer(worker._store, "worker:s", Lease(7, 0.03), window, worker._doorbells)

    assert woken.wait(DEADLINE_S)
    assert not window.ids
    renewer.stop()
    renewer._thread.join(DEADLINE_S)
