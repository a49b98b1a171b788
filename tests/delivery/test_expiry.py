"""Expiry: no call returns an expired message; a leased message stays with its holder."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient, BusObserver, LeaseLostError
from raven.host.bus import HostedBus
from tests.loop import Loop
from tests.support import Foreign, leased, wait_until

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
WORKER = "worker:s"
both_modes = pytest.mark.parametrize("mode", ["listen", "subscribe"])


@pytest.fixture
def bus(hosted: Hosted) -> HostedBus:
    """Return a client of the worker."""
    return hosted(WORKER)


@pytest.fixture
def other(connect: Connect) -> BusClient:
    """Return another client of the worker."""
    return connect(WORKER)


def wait_for_end(bus: BusClient, message_id: int = 1) -> None:
    """Wait until a message has expired."""
    expires_at = bus.read(message_id).expires_at
    assert expires_at is not None
    wait_until(lambda: time.time() > expires_at.timestamp(), "the end of a message's time")


def looped(mode: str, **options: Any) -> Callable[[BusClient], list[Any]]:
    return lambda bus: list(Loop(bus, mode, timeout_s=0.05, **options))


def fetched(ack: Any) -> Callable[[BusClient], list[Any]]:
    def fetch(bus: BusClient) -> list[Any]:
        subscription = bus.pull_subscription(ack=ack)
        try:
            return [*subscription.fetch(10, notified=True), *subscription.fetch(10)]
        finally:
            subscription.close()

    return fetch


WAYS: dict[str, Callable[[BusClient], list[Any]]] = {
    "inbox": lambda bus: bus.inbox(),
    "peek": lambda bus: bus.inbox(peek=True),
    "claim": lambda bus: bus.claim(max=10),
    "listen": looped("listen"),
    "subscribe": looped("subscribe"),
    "manual listen": looped("listen", ack="manual"),
    "manual subscribe": looped("subscribe", ack="manual"),
    "auto subscription": fetched("auto"),
    "manual subscription": fetched("manual"),
    "subscription ahead": fetched("prefetch"),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_call_delivers_an_expired_message_even_before_it_is_marked(bus: BusClient, way: str) -> None:
    bus.send(WORKER, "job", expires_in_s=1e-6)
    bus.send(WORKER, "job", expires_in_s=1e-6, urgency="blocking")
    bus.send(WORKER, "job", expires_in_s=3600)

    assert [message.id for message in WAYS[way](bus)] in ([3], [3, 3])

    assert [(bus.read(id).state, bus.read(id).attempts) for id in (1, 2)] == [("expired", 0)] * 2


def test_every_read_shows_an_expired_message_as_expired(db: str, bus: BusClient, foreign: Foreign) -> None:
    bus.send(WORKER, "job", expires_in_s=1e-6, correlation_id="c", task_id="t")

    with BusObserver(db) as observer:
        seen = [bus.read(1), observer.read(1), *observer.history("c"), *observer.history(task_id="t")]
        seen += [*observer.thread(1), *observer.tail(follow=False), *bus.log().page()]
        pending = [(peer.address, peer.pending) for peer in observer.peers()]
        receipts = observer.receipts(1)

    assert [message.state for message in seen] == ["expired"] * 7
    assert pending == [(WORKER, 0)]
    assert [(receipt.state, receipt.attempts) for receipt in receipts] == [("expired", 0)]
    assert receipts[0].finished_at is not None
    assert foreign.execute("SELECT * FROM pending") == []


def test_a_message_delayed_beyond_its_expiry_is_never_delivered(bus: BusClient) -> None:
    bus.send(WORKER, "job", delay_s=0.1, expires_in_s=0.05)

    assert list(bus.listen(timeout_s=0.4)) == []

    assert bus.read(1).state == "expired"


def test_a_holder_may_finish_after_the_time_of_its_message(bus: BusClient, other: BusClient) -> None:
    bus.send(WORKER, "job", expires_in_s=0.1, correlation_id="c")
    bus.claim(lease_s=60)

    wait_for_end(bus)
    seen = [bus.read(1), *bus.history("c"), *bus.thread(1), *bus.tail(follow=False)]
    held = bus.receipts(1)[0], other.claim(), other.dead()
    bus.extend(1, lease_s=60)
    bus.ack(1)

    assert [message.state for message in seen] == ["delivered"] * 4
    assert (held[0].state, held[0].leased, *held[1:]) == ("delivered", True, [], [])
    assert (bus.read(1).state, bus.receipts(1)[0].state) == ("acked", "acked")


def test_a_message_released_after_its_expiry_is_expired(bus: BusClient, other: BusClient) -> None:
    bus.send(WORKER, "job", expires_in_s=0.1)
    bus.claim(lease_s=60)

    wait_for_end(bus)
    bus.nack(1)

    assert other.claim() == []
    assert (bus.read(1).state, bus.read(1).attempts) == ("expired", 1)


def test_a_message_whose_lease_ends_after_its_expiry_is_expired(bus: BusClient, other: BusClient) -> None:
    bus.send(WORKER, "job", expires_in_s=0.05)
    bus.claim(lease_s=0.2)

    wait_until(lambda: other.receipts(1)[0].state != "delivered", "the end of the lease")

    assert (other.receipts(1)[0].state, other.claim()) == ("expired", [])
    with pytest.raises(LeaseLostError, match="#1 is lost: it is expired"):
        bus.ack(1)


@pytest.mark.parametrize("by", ["claim", "dead", "receipts"])
def test_a_last_lease_that_ends_after_the_expiry_has_one_result_for_every_process(
    bus: BusClient, other: BusClient, foreign: Foreign, by: str
) -> None:
    bus.send(WORKER, "job", expires_in_s=0.05, max_attempts=1)
    bus.claim(lease_s=0.1)
    lease_ended_at = foreign.value("SELECT ready_at FROM deliveries") / 1e6
    wait_until(lambda: time.time() > lease_ended_at, "the end of the lease")

    {"claim": other.claim, "dead": other.dead, "receipts": lambda: other.receipts(1)}[by]()

    assert foreign.value("SELECT state FROM deliveries") == 4
    assert [message.id for message in bus.dead()] == [1]


@both_modes
def test_a_manual_loop_keeps_its_message_beyond_its_expiry(bus: BusClient, other: BusClient, mode: str) -> None:
    bus.send(WORKER, "job", expires_in_s=0.2)
    loop = Loop(bus, mode, ack="manual", lease_s=0.3)
    next(loop)
    until = time.monotonic() + 0.9

    while time.monotonic() < until:
        assert other.claim() == []
        time.sleep(0.02)
    bus.ack(1)
    loop.close()

    assert (bus.read(1).state, bus.read(1).attempts) == ("acked", 1)


def test_a_message_that_a_manual_loop_releases_after_its_expiry_is_expired(bus: BusClient, other: BusClient) -> None:
    bus.send(WORKER, "job", expires_in_s=0.1)

    for _ in bus.listen(ack="manual"):
        wait_for_end(bus)
        break

    assert other.claim() == []
    assert bus.receipts(1)[0].state == "expired"


@both_modes
def test_a_prefetched_message_is_not_delivered_after_its_expiry(bus: BusClient, foreign: Foreign, mode: str) -> None:
    bus.send_many([{"to": WORKER, "type": "job", "expires_in_s": 1.5}] * 60)
    loop = Loop(bus, mode, timeout_s=2.5)
    last = next(message.id for message in loop if leased(foreign))

    wait_for_end(bus, 60)
    rest = list(loop)

    assert rest == []
    assert {bus.read(id).state for id in range(last + 1, 61)} == {"expired"}
    assert {bus.read(id).attempts for id in range(last + 1, 61)} == {0}
    assert leased(foreign) == 0


def test_a_prefetched_message_cannot_be_consumed_after_its_expiry(bus: BusClient, foreign: Foreign) -> None:
    bus.send(WORKER, "job", expires_in_s=600)
    subscription = bus.pull_subscription(ack="prefetch", lease_s=60)
    assert len(subscription.fetch(1)) == 1

    foreign.execute("UPDATE deliveries SET expires_at = 1")
    with pytest.raises(LeaseLostError, match="the message has expired"):
        subscription.consume(1)

    assert (bus.receipts(1)[0].state, bus.read(1).attempts) == ("expired", 0)
    subscription.close()


def test_many_that_expire_at_once_are_all_marked_and_hold_up_nothing(bus: BusClient, foreign: Foreign) -> None:
    bus.send_many([{"to": f"nobody-{n % 3}:s", "type": "job", "expires_in_s": 1e-6} for n in range(1500)])
    bus.send(WORKER, "job")

    assert [message.id for message in bus.claim(max=10)] == [1501]

    assert bus.receipts(1500)[0].state == "expired"
    assert foreign.execute("SELECT state, count(*) FROM deliveries GROUP BY state") == [[1, 1], [3, 1500]]
