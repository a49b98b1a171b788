"""Subscriptions and listeners for an event loop that is not raven's: a descriptor tells when to fetch."""

from __future__ import annotations

import select
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient, InputError
from raven.host.bus import HostedBus
from raven.model.message import Message
from raven.wake.doorbell import Doorbells
from raven.wake.listener import Listener
from tests.support import DEADLINE_S, Foreign, bells, leased, wait_until, waiting

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
Subscribe = Callable[..., Any]
ADDRESS = "worker:s"
ALL_TRAFFIC = "*"


@pytest.fixture
def subscribe(hosted: Hosted) -> Iterator[Subscribe]:
    """Make subscriptions of one address, each over a connection of its own; the fixture closes them."""
    subscriptions: list[Any] = []

    def make(**options: Any) -> Any:
        subscriptions.append(hosted(ADDRESS).pull_subscription(**options))
        return subscriptions[-1]

    yield make
    for subscription in subscriptions:
        subscription.close()


def is_rung(listener: Listener, timeout_s: float = DEADLINE_S) -> bool:
    """Wait until the descriptor is readable, as an event loop does."""
    return bool(select.select([listener], [], [], timeout_s)[0])


def fetch_when_rung(subscription: Any, max: int = 100) -> list[Message]:
    """Fetch at every ring until messages come; a new watch rings once without a message."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        assert is_rung(subscription.listener)
        subscription.listener.drain()
        if messages := subscription.fetch(max, notified=True):
            return list(messages)
    raise AssertionError("there were rings, but no message")


def ids(messages: list[Message]) -> list[int]:
    return [message.id for message in messages]


def test_a_send_makes_the_descriptor_readable_and_silence_unreadable(connect: Connect, subscribe: Subscribe) -> None:
    bus, subscription = connect("boss:s"), subscribe()

    for number in range(3):
        bus.send(ADDRESS, "note", number)
        assert [msg.body for msg in fetch_when_rung(subscription)] == [number]

    # The watch still polls a few times for the sent message; then there is silence.
    wait_until(lambda: subscription.listener.drain() or not is_rung(subscription.listener, 0.1), "silence")


def test_a_foreign_send_makes_the_descriptor_readable_too(subscribe: Subscribe, foreign: Foreign) -> None:
    subscription = subscribe()

    foreign.send(ADDRESS, "from abroad")

    assert [msg.body for msg in fetch_when_rung(subscription)] == ["from abroad"]


def test_what_is_fetched_is_acked_already_unless_it_is_asked_otherwise(connect: Connect, subscribe: Subscribe) -> None:
    bus = connect(ADDRESS)
    bus.send(ADDRESS, "note", "later", urgency="fyi")
    bus.send(ADDRESS, "note", "sooner", urgency="blocking")
    subscription = subscribe()

    (message,) = subscription.fetch(1)
    due = subscription.next_due_s()
    rest = subscription.fetch(10)

    assert (message.body, message.state, message.attempts) == ("sooner", "acked", 1)
    assert message == bus.read(message.id)
    assert ([msg.body for msg in rest], due, subscription.next_due_s()) == (["later"], 0.0, None)
    assert subscription.fetch(10) == []
    assert subscription.renew() == set()


def test_what_is_fetched_by_hand_is_leased_and_each_attempt_is_counted(
    connect: Connect, subscribe: Subscribe, foreign: Foreign
) -> None:
    bus = connect(ADDRESS)
    sent = bus.send(ADDRESS, "note")
    first, second = subscribe(ack="manual"), subscribe(ack="manual")

    (message,) = first.fetch(10)
    nothing = second.fetch(10)
    first.close()
    (again,) = second.fetch(10)
    bus.ack(sent.id)

    assert (message.state, message.attempts, nothing) == ("delivered", 1, [])
    assert message.delivered_at is not None
    assert (again.attempts, again.delivered_at) == (2, message.delivered_at)
    assert (bus.read(sent.id).state, bus.read(sent.id).attempts) == ("acked", 2)
    assert leased(foreign) == 0


def test_due_s_tells_when_a_delay_or_the_lease_of_another_ends(connect: Connect, subscribe: Subscribe) -> None:
    bus = connect(ADDRESS)
    subscription = subscribe()
    assert (subscription.fetch(10), subscription.next_due_s()) == ([], None)

    bus.send(ADDRESS, "note", delay_s=60)
    subscription.fetch(10)
    delay = subscription.next_due_s()
    bus.send(ADDRESS, "note")
    subscribe(ack="manual", lease_s=30).fetch(10)
    subscription.fetch(10)

    assert 40 < delay <= 60
    assert 10 < subscription.next_due_s() <= 30


def test_renew_prolongs_what_is_still_held_and_tells_which_that_is(connect: Connect, subscribe: Subscribe) -> None:
    bus = connect(ADDRESS)
    bus.send_many([{"to": ADDRESS, "type": "note"}] * 3)
    holder, other = subscribe(ack="manual", lease_s=1), subscribe(ack="manual")
    assert ids(holder.fetch(10)) == [1, 2, 3]
    bus.ack(2)

    end = time.monotonic() + 1.5
    while time.monotonic() < end:  # longer than the lease
        assert holder.renew() == {1, 3}
        assert other.fetch(10) == []
        other.listener.wait(0.1)


def test_what_is_not_renewed_is_ready_for_another_when_its_lease_ends(connect: Connect, subscribe: Subscribe) -> None:
    connect(ADDRESS).send_many([{"to": ADDRESS, "type": "note"}] * 2)
    sleeper, other = subscribe(ack="manual", lease_s=0.3), subscribe(ack="manual")
    other.fetch(1)
    began = time.monotonic()
    sleeper.fetch(1)

    (message,) = wait_until(lambda: other.fetch(10), "the end of a lease")

    assert time.monotonic() - began >= 0.29
    assert (message.id, message.attempts) == (2, 2)
    assert sleeper.renew() == set()
    assert other.renew() == {1, 2}


def test_close_gives_back_at_once_and_rings_the_others(connect: Connect, subscribe: Subscribe) -> None:
    bus = connect(ADDRESS)
    bus.send_many([{"to": ADDRESS, "type": "note"}] * 3)
    leaver, other = subscribe(ack="manual", lease_s=3600), subscribe(ack="manual", lease_s=3600)
    leaver.fetch(10)
    bus.ack(1)
    assert is_rung(leaver.listener)  # by the watch, which rings once when it begins
    bell = Doorbells(bus.db_path).create(ADDRESS)
    assert not bell.wait(0)

    leaver.close()

    assert bell.wait(0)
    bell.close()
    assert ids(fetch_when_rung(other)) == [2, 3]
    leaver.close()
    assert (leaver.fetch(10), leaver.renew(), other.renew()) == ([], set(), {2, 3})


def test_a_fetch_in_a_block_that_is_undone_takes_nothing(hosted: Hosted) -> None:
    bus = hosted(ADDRESS)
    bus.send(ADDRESS, "note")
    subscriptions = [bus.pull_subscription(), bus.pull_subscription(ack="manual")]

    for subscription in subscriptions:
        with suppress(ZeroDivisionError), bus.atomic():
            assert ids(subscription.fetch(10)) == [1]
            raise ZeroDivisionError

    assert [(msg.state, msg.attempts) for msg in bus.inbox(peek=True)] == [("sent", 0)]
    for subscription in subscriptions:
        subscription.close()


@pytest.mark.parametrize("ack", ["", "Auto", None, True, []])
def test_a_bad_way_to_ack_is_refused_with_its_value(db: str, hosted: Hosted, ack: Any) -> None:
    with pytest.raises(InputError, match=r"ack .* is not known") as caught:
        hosted(ADDRESS).pull_subscription(ack=ack)

    assert repr(ack) in str(caught.value)
    assert bells(db) == []


@pytest.mark.parametrize("lease_s", [0, -1, 86401, float("nan"), float("inf"), "30", None])
def test_a_bad_lease_is_refused_with_its_value(db: str, hosted: Hosted, lease_s: Any) -> None:
    with pytest.raises(InputError, match=r"lease_s .* is out of range") as caught:
        hosted(ADDRESS).pull_subscription(ack="manual", lease_s=lease_s)

    assert repr(lease_s) in str(caught.value)
    assert bells(db) == []


def test_a_listener_whose_fifo_was_deleted_says_so_and_hangs_another_at_its_tick(
    db: str, connect: Connect, subscribe: Subscribe
) -> None:
    subscription = subscribe()
    listener = subscription.listener
    listener.tick()
    before = listener.doorbell_exists(), waiting(db, ADDRESS)

    shutil.rmtree(f"{db}-bells")
    without = listener.doorbell_exists(), waiting(db, ADDRESS)
    connect("boss:s").send(ADDRESS, "note")
    listener.tick()

    assert (before, without) == ((True, 1), (False, 0))
    assert (listener.doorbell_exists(), waiting(db, ADDRESS), listener.has_no_fifo) == (True, 1, False)
    assert len(subscription.fetch(10)) == 1
    connect("boss:s").send(ADDRESS, "note")
    assert len(fetch_when_rung(subscription)) == 1


def test_without_a_fifo_a_listener_polls_until_one_can_be_made(
    db: str, connect: Connect, subscribe: Subscribe, caplog: pytest.LogCaptureFixture
) -> None:
    Path(f"{db}-bells").write_text("in the way")
    bus, subscription = connect("boss:s"), subscribe()
    listener = subscription.listener
    listener.tick()
    deaf = listener.has_no_fifo, listener.doorbell_exists(), listener.fileno(), listener.wait(0)
    bus.send(ADDRESS, "note", "by a tick")
    fetched = subscription.fetch(10)

    Path(f"{db}-bells").unlink()
    listener.tick()
    bus.send(ADDRESS, "note", "by a ring")

    assert deaf == (True, False, -1, False)
    assert [msg.body for msg in fetched] == ["by a tick"]
    assert [msg.body for msg in fetch_when_rung(subscription)] == ["by a ring"]
    assert caplog.text.count("no doorbell at") == 1


def test_an_observers_listener_is_rung_by_every_send(db: str, hosted: Hosted) -> None:
    bus = hosted("boss:s")
    with HostedBus.at("looker:s", db, register=False) as observer:
        listener, log, heard = observer.listener(), observer.log(), []
        for to in ("a:s", ["b:s", "c:t"], "boss:s"):
            bus.send(to, "note", to)
            while not (page := log.page()):
                assert is_rung(listener)
                listener.drain()
            heard += [msg.body for msg in page]
        bell = Doorbells(db).create(ALL_TRAFFIC)
        with bus.atomic():
            bus.for_address("d:s").send("e:s", "note")
        rung = bell.wait(0)
        bell.close()
        listener.close()

    assert (heard, rung) == (["a:s", ["b:s", "c:t"], "boss:s"], True)


def test_a_subscription_that_acks_what_it_fetches_has_nothing_more_to_take(hosted: Hosted) -> None:
    worker = hosted("worker:s")
    sent = worker.send("worker:s", "note")
    subscription = worker.pull_subscription(ack="auto")
    assert [message.id for message in subscription.fetch(10)] == [sent.id]

    subscription.consume(sent.id)

    assert [receipt.state for receipt in worker.receipts(sent.id)] == ["acked"]
    subscription.close()
