"""Claims: a message is leased to one consumer at a time, and no claim waits."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from raven import BusClient, ClosedError, InputError, Message
from scripts.harness.deadline import Limit
from tests.support import DEADLINE_S, Foreign, Program, wait_until

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
WORKER = "worker:s"
# Far below the busy timeout, and far above the time of a claim.
AT_ONCE_S = Limit(5.0)


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Return a client of the worker."""
    return connect(WORKER)


def ids(messages: list[Message]) -> list[int]:
    return [message.id for message in messages]


def send_some(bus: BusClient, count: int) -> None:
    bus.send_many([{"to": WORKER, "type": "job", "body": number} for number in range(count)])


def claim_after_lease_end(bus: BusClient) -> Message:
    """Claim again once the lease on the only message has ended."""
    (message,) = wait_until(bus.claim, "the end of a lease")
    assert isinstance(message, Message)
    return message


def test_claims_go_by_urgency_and_then_by_id(bus: BusClient) -> None:
    for urgency in ("fyi", "prompt", "blocking", "prompt", "fyi", "blocking"):
        bus.send(WORKER, "job", urgency=urgency)

    assert [ids(bus.claim(max=2)) for _ in range(4)] == [[3, 6], [2, 4], [1, 5], []]


def test_a_claim_takes_one_unless_more_are_asked_for_and_never_more_than_there_are(bus: BusClient) -> None:
    send_some(bus, 6)

    assert [ids(bus.claim()), ids(bus.claim(2)), ids(bus.claim(max=100)), bus.claim()] == [[1], [2, 3], [4, 5, 6], []]


def test_a_claimed_message_is_delivered_counts_an_attempt_and_has_a_lease_token(bus: BusClient) -> None:
    send_some(bus, 3)

    first, second = bus.claim(max=2)
    (third,) = bus.claim()

    assert [(msg.state, msg.attempts) for msg in (first, second, third)] == [("delivered", 1)] * 3
    assert first.delivered_at is not None
    assert first.lease
    assert first.lease == second.lease != third.lease
    assert first.as_dict()["lease"] == first.lease
    seen = bus.read(1)
    assert (seen.state, seen.attempts, seen.delivered_at, seen.lease) == ("delivered", 1, first.delivered_at, None)


def test_an_unacked_message_is_ready_again_when_its_lease_ends_and_not_before(bus: BusClient, connect: Connect) -> None:
    send_some(bus, 1)
    other = connect(WORKER)
    began = time.monotonic()
    (message,) = bus.claim(lease_s=0.3)

    again = claim_after_lease_end(other)

    assert time.monotonic() - began >= 0.3
    assert (again.id, again.attempts, again.delivered_at) == (message.id, 2, message.delivered_at)
    assert again.lease != message.lease


def test_the_default_lease_keeps_a_message_for_half_a_minute(bus: BusClient) -> None:
    send_some(bus, 1)

    (message,) = bus.claim()
    (receipt,) = bus.receipts(1)

    assert receipt.leased
    assert receipt.ready_at is not None
    assert message.delivered_at is not None
    assert (receipt.ready_at - message.delivered_at).total_seconds() == 30


def test_a_message_seen_in_the_inbox_can_be_claimed_and_an_acked_one_cannot(bus: BusClient) -> None:
    send_some(bus, 2)
    bus.inbox()
    bus.ack(1)

    (message,) = bus.claim(max=10)

    assert (message.id, message.attempts) == (2, 1)


def test_others_mail_is_never_claimed(bus: BusClient, connect: Connect) -> None:
    bus.send(["other:s", "worker:t"], "job")

    assert bus.claim(max=10) == []
    assert ids(connect("other:s").claim(max=10)) == [1]


def test_bounds_of_a_claim_are_refused_just_above_them(bus: BusClient) -> None:
    send_some(bus, 2)

    for options in ({"max": 1.5}, {"max": 1 << 43}, {"lease_s": 86400.1}):
        with pytest.raises(InputError):
            bus.claim(**options)  # type: ignore[arg-type]
    assert ids(bus.claim(max=(1 << 43) - 1, lease_s=86400)) == [1, 2]


def test_a_client_that_is_closed_claims_nothing(bus: BusClient, connect: Connect) -> None:
    send_some(bus, 1)
    closed = connect(WORKER)
    closed.close()

    with pytest.raises(ClosedError):
        closed.claim()


@pytest.mark.file_only
def test_a_claim_that_is_rolled_back_has_claimed_nothing_and_counted_no_attempt(bus: BusClient) -> None:
    send_some(bus, 2)

    with suppress(ZeroDivisionError), bus.transaction() as tx:
        assert ids(tx.claim(max=2)) == [1, 2]
        assert tx.claim() == []
        tx.ack(1)
        raise ZeroDivisionError

    assert [(msg.state, msg.attempts) for msg in bus.inbox(peek=True)] == [("sent", 0)] * 2
    assert [(msg.id, msg.attempts) for msg in bus.claim(max=2)] == [(1, 1), (2, 1)]


@pytest.mark.file_only
def test_a_lease_that_was_rolled_back_is_not_held_against_its_client(bus: BusClient, connect: Connect) -> None:
    send_some(bus, 1)
    with suppress(ZeroDivisionError), bus.transaction() as tx:
        tx.claim()
        raise ZeroDivisionError
    other = connect(WORKER)
    other.claim()
    other.ack(1)

    bus.ack(1)  # as for any client that has never claimed it

    assert bus.read(1).state == "acked"


@pytest.mark.file_only
def test_a_claim_and_its_ack_can_be_one_commit(bus: BusClient, foreign: Foreign) -> None:
    send_some(bus, 1)

    with bus.transaction() as tx:
        (message,) = tx.claim()
        tx.send("boss:s", "done", message.body)
        tx.ack(message.id)
        within = foreign.value("SELECT count(*) FROM deliveries WHERE state = 0 AND lease IS NULL")

    assert within == 1
    assert (bus.read(1).state, bus.read(1).attempts, bus.read(2).type) == ("acked", 1, "done")


def test_of_many_threads_that_claim_at_once_no_two_have_the_same(bus: BusClient, connect: Connect, way: str) -> None:
    send_some(bus, 400)
    clients = [connect(WORKER, **({"busy_timeout_s": 60} if way == "file" else {})) for _ in range(3)]
    claimed: list[int] = []
    start = threading.Barrier(6)

    def claim(client: BusClient) -> None:
        start.wait(DEADLINE_S)
        while messages := client.claim(max=3):
            claimed.extend(ids(messages))

    threads = [threading.Thread(target=claim, args=(client,)) for client in clients for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert sorted(claimed) == [*range(1, 401)]
    assert {msg.attempts for msg in bus.inbox(max=400)} == {1}


def test_of_processes_that_claim_at_once_no_two_have_the_same_and_each_has_some(
    db: str, bus: BusClient, spawn: Spawn
) -> None:
    send_some(bus, 600)
    programs = [spawn("claimer", db, WORKER, 2) for _ in range(2)]
    for program in programs:
        program.read()

    for program in programs:
        program.tell()
    firsts = [program.read() for program in programs]
    for program in programs:
        program.tell()
    claims = [claim for program in programs for claim in program.read_rest()] + firsts

    taken = Counter(message_id for claim in claims for message_id in claim)
    assert taken == Counter(range(1, 601))
    assert bus.inbox() == []


@pytest.mark.parametrize("there_is", ["nothing", "a delayed one", "a leased one", "another's that has expired"])
@pytest.mark.file_only
def test_a_claim_that_finds_nothing_does_not_wait_for_another_writer(
    db: str, connect: Connect, spawn: Spawn, there_is: str
) -> None:
    bus = connect(WORKER, busy_timeout_s=60)
    if there_is == "a delayed one":
        bus.send(WORKER, "job", delay_s=60)
    elif there_is == "a leased one":
        send_some(bus, 1)
        bus.claim()
    elif there_is == "another's that has expired":
        bus.send("nobody:s", "job", expires_in_s=1e-6)
    program = spawn("lock_holder", db)
    program.read()
    release = threading.Timer(AT_ONCE_S, program.tell)  # so that a claim that waits can end, too late
    release.start()

    began = time.monotonic()
    claimed = bus.claim(max=10)
    took_s = time.monotonic() - began
    release.cancel()

    assert claimed == []
    assert took_s < AT_ONCE_S / 2


def test_a_delayed_message_is_claimed_once_it_is_due(bus: BusClient) -> None:
    sent = bus.send(WORKER, "job", delay_s=0.3)
    assert bus.claim() == []

    message = claim_after_lease_end(bus)

    assert (message.id, message.attempts) == (sent.id, 1)
    assert time.time() >= sent.created_at.timestamp() + 0.3
