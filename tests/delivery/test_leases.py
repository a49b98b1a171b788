"""Leases: which consumer may ack, nack or extend, and the error for a lost lease."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from raven import BusClient, DeliveryError, LeaseLostError, Message, MessageNotFoundError
from tests.client_process import Actor
from tests.support import Program, wait_until

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
WORKER = "worker:s"
CALLS = ("ack", "nack", "extend")


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Return a client of the worker with one message waiting."""
    client = connect(WORKER)
    client.send(WORKER, "job")
    return client


@pytest.fixture
def other(connect: Connect) -> BusClient:
    """Return another client of the worker."""
    return connect(WORKER)


def claim_after_lease_end(client: BusClient) -> Message:
    """Claim the message as soon as the lease of another consumer has ended."""
    message = wait_until(client.claim, "the end of a lease")[0]
    assert isinstance(message, Message)
    return message


def be_late(late: BusClient, quick: BusClient) -> None:
    """Let one client's lease end, so that another client holds the message now."""
    late.claim(lease_s=0.05)
    claim_after_lease_end(quick)


def outcome(client: BusClient) -> tuple[str, bool]:
    """Return the state of the first message, and whether it is leased."""
    (receipt,) = client.receipts(1)
    return receipt.state, receipt.leased


def test_its_claimer_acks_a_message(bus: BusClient) -> None:
    (message,) = bus.claim()

    bus.ack(message.id)

    seen = bus.read(message.id)
    assert (seen.state, seen.attempts, seen.delivered_at) == ("acked", 1, message.delivered_at)
    assert seen.acked_at == seen.finished_at is not None
    assert outcome(bus) == ("acked", False)


def test_a_nack_makes_a_message_ready_for_every_consumer_at_once(bus: BusClient, other: BusClient) -> None:
    bus.claim()

    state = bus.nack(1)

    assert (state, outcome(bus)) == ("delivered", ("delivered", False))
    (again,) = other.claim()
    assert (again.id, again.attempts) == (1, 2)


@pytest.mark.parametrize(
    ("call", "then"), [("ack", ("acked", False)), ("nack", ("delivered", False)), ("extend", ("delivered", True))]
)
def test_another_client_of_the_address_that_has_claimed_nothing_has_its_owners_word(
    bus: BusClient, other: BusClient, call: str, then: tuple[str, bool]
) -> None:
    bus.claim()

    getattr(other, call)(1)

    assert outcome(bus) == then


@pytest.mark.parametrize(
    ("call", "then"), [("ack", ("acked", False)), ("nack", ("delivered", False)), ("extend", ("delivered", True))]
)
def test_a_lease_can_be_passed_to_another_process(
    db: str, bus: BusClient, spawn: Spawn, call: str, then: tuple[str, bool]
) -> None:
    actor = Actor(spawn("actor", db, WORKER))
    (message,) = bus.claim(remember=False)
    assert message.lease

    actor.begin(call, 1, lease=message.lease + 1)
    assert actor.error()["error"][0] == "LeaseLostError"
    actor.call(call, 1, lease=message.lease)

    assert outcome(bus) == then


@pytest.mark.parametrize("call", CALLS)
def test_a_late_call_raises_that_another_consumer_holds_the_message_and_changes_nothing(
    bus: BusClient, other: BusClient, call: str
) -> None:
    be_late(bus, other)
    before = other.receipts(1)

    with pytest.raises(LeaseLostError, match="#1 is lost: another consumer holds it; undo its work, or claim"):
        getattr(bus, call)(1)

    assert other.receipts(1) == before
    other.ack(1)
    assert outcome(bus) == ("acked", False)


@pytest.mark.parametrize("call", CALLS)
def test_a_late_call_after_the_message_is_finished_raises_its_state(
    bus: BusClient, other: BusClient, call: str
) -> None:
    be_late(bus, other)
    other.ack(1)

    with pytest.raises(LeaseLostError, match="#1 is lost: it is acked by another consumer"):
        getattr(bus, call)(1)


@pytest.mark.parametrize("call", CALLS)
def test_a_late_call_after_a_death_raises_it(connect: Connect, call: str) -> None:
    bus, other = connect(WORKER), connect(WORKER)
    bus.send(WORKER, "job", max_attempts=2)
    be_late(bus, other)
    other.nack(1)

    with pytest.raises(LeaseLostError, match="#1 is lost: it is dead; "):
        getattr(bus, call)(1)
    assert outcome(bus) == ("dead", False)


@pytest.mark.parametrize("call", ["ack", "nack"])
def test_an_expired_lease_is_valid_until_another_consumer_holds_the_message(
    bus: BusClient, other: BusClient, call: str
) -> None:
    bus.claim(lease_s=0.05)
    wait_until(lambda: not bus.receipts(1)[0].leased, "the end of the lease")
    bus.dead()  # applies due timers

    getattr(bus, call)(1)

    assert outcome(bus)[0] == {"ack": "acked", "nack": "delivered"}[call]
    assert len(other.claim()) == (call == "nack")


def test_a_released_lease_cannot_be_extended(bus: BusClient) -> None:
    bus.claim(lease_s=0.05)
    wait_until(lambda: not bus.receipts(1)[0].leased, "the end of the lease")
    bus.dead()  # applies due timers

    with pytest.raises(LeaseLostError, match="#1 is lost: it is not leased now"):
        bus.extend(1)


def test_a_message_without_a_lease_cannot_be_extended(bus: BusClient) -> None:
    with pytest.raises(LeaseLostError, match="#1 is lost: it is not leased now"):
        bus.extend(1)


def test_an_extended_lease_keeps_others_away_until_its_end(bus: BusClient, other: BusClient) -> None:
    bus.claim(lease_s=0.3)
    began = time.monotonic()

    while time.monotonic() - began < 0.9:
        bus.extend(1, lease_s=0.3)
        assert other.claim() == []
        time.sleep(0.05)
    extended_at = time.monotonic()
    bus.extend(1, lease_s=0.2)

    assert claim_after_lease_end(other).attempts == 2
    assert time.monotonic() - extended_at >= 0.2


def test_a_client_that_claims_again_after_its_lease_has_the_new_one(bus: BusClient) -> None:
    (first,) = bus.claim(lease_s=0.05)
    again = claim_after_lease_end(bus)

    with pytest.raises(LeaseLostError):
        bus.ack(1, lease=first.lease)
    bus.ack(1)

    assert (again.attempts, outcome(bus)) == (2, ("acked", False))


def test_an_ack_under_a_lease_is_idempotent_in_every_process(db: str, bus: BusClient, spawn: Spawn) -> None:
    actor = Actor(spawn("actor", db, WORKER))
    (message,) = bus.claim()

    for options in ({}, {"lease": message.lease}, {}):
        bus.ack(1, **options)
        assert actor.call("ack", 1, **options) is None

    assert bus.read(1).state == "acked"


def test_a_nack_says_why_and_holds_the_message_back(bus: BusClient, other: BusClient) -> None:
    bus.claim()
    began = time.time()

    bus.nack(1, delay_s=0.4, reason="the disk is full")
    (receipt,) = bus.receipts(1)
    at_once = other.claim()
    again = claim_after_lease_end(other)

    assert (receipt.reason, receipt.leased, at_once) == ("the disk is full", False, [])
    assert receipt.ready_at is not None
    assert 0.39 < receipt.ready_at.timestamp() - began < 5
    assert time.time() >= began + 0.4
    assert (again.reason, again.attempts) == ("the disk is full", 2)


def test_a_nack_of_an_unclaimed_message_counts_no_attempt(bus: BusClient) -> None:
    assert bus.nack(1, reason="not mine") == "sent"

    assert (bus.read(1).attempts, bus.read(1).reason) == (0, "not mine")


@pytest.mark.parametrize("end", ["acked", "expired", "dead"])
def test_a_finished_message_cannot_be_nacked(connect: Connect, end: str) -> None:
    bus = connect(WORKER)
    bus.send(WORKER, "job", max_attempts=1, expires_in_s=1e-6 if end == "expired" else None)
    if end != "expired":
        bus.claim()
        getattr(bus, {"acked": "ack", "dead": "nack"}[end])(1)
    bus.dead()  # applies due timers

    with pytest.raises(DeliveryError, match=f"#1 is {end}: only an unfinished message can be nacked") as caught:
        bus.nack(1)

    assert not isinstance(caught.value, LeaseLostError)
    assert outcome(bus) == (end, False)


@pytest.mark.file_only
def test_an_end_that_is_rolled_back_leaves_the_lease_with_its_claimer(bus: BusClient, other: BusClient) -> None:
    bus.claim(lease_s=0.1)
    for call in (bus.ack, bus.nack):
        with suppress(ZeroDivisionError), bus.transaction():
            call(1)
            raise ZeroDivisionError
    claim_after_lease_end(other)

    with pytest.raises(LeaseLostError, match="another consumer holds it"):
        bus.ack(1)


@pytest.mark.parametrize("call", CALLS)
def test_only_a_recipient_has_anything_to_say(bus: BusClient, connect: Connect, call: str) -> None:
    bus.claim()

    with pytest.raises(MessageNotFoundError, match="#1 was not sent to boss:s: only its recipients can ack it"):
        getattr(connect("boss:s"), call)(1)
    with pytest.raises(MessageNotFoundError, match="there is no message #77"):
        getattr(bus, call)(77)
    assert outcome(bus) == ("delivered", True)
