"""Prefetching subscriptions (`ack="prefetch"`): a message is acked when its consumer consumes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from raven import BusClient, LeaseLostError
from raven.host.bus import HostedBus
from raven.receive.subscription import PullSubscription
from tests.rpc_server import Served
from tests.support import Foreign, wait_until

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
WORKER = "worker:s"


@pytest.fixture
def boss(connect: Connect) -> BusClient:
    """Return a client that sends."""
    return connect("boss:s")


@pytest.fixture
def subscribe(hosted: Hosted) -> Iterator[Callable[..., PullSubscription]]:
    """Return a function that opens prefetching subscriptions of the worker."""
    subscriptions = []

    def make(lease_s: float = 30.0) -> PullSubscription:
        subscriptions.append(hosted(WORKER).pull_subscription(ack="prefetch", lease_s=lease_s))
        return subscriptions[-1]

    yield make
    for one in subscriptions:
        one.close()


def test_a_prefetched_message_counts_no_attempt_until_it_is_consumed(
    boss: BusClient, subscribe: Callable[..., PullSubscription], connect: Connect
) -> None:
    boss.send_many([{"to": WORKER, "type": "job", "body": n} for n in range(2)])
    subscription = subscribe()

    first, second = subscription.fetch(10)
    subscription.consume(first.id)

    worker = connect(WORKER)
    seen = [(worker.read(message.id).state, worker.read(message.id).attempts) for message in (first, second)]
    assert seen == [("acked", 1), ("sent", 0)]


def test_a_prefetched_and_released_message_is_unchanged(
    boss: BusClient, subscribe: Callable[..., PullSubscription]
) -> None:
    boss.send(WORKER, "job")
    subscription = subscribe()
    subscription.fetch(1)

    subscription.release()

    (again,) = subscribe().fetch(1)
    assert (again.state, again.attempts, again.delivered_at) == ("sent", 0, None)


def test_a_message_that_another_consumer_holds_cannot_be_consumed(
    boss: BusClient, subscribe: Callable[..., PullSubscription], connect: Connect
) -> None:
    boss.send(WORKER, "job")
    slow = subscribe(lease_s=0.05)
    (message,) = slow.fetch(1)
    quick = subscribe()
    (same,) = wait_until(lambda: quick.fetch(1), "the end of the lease")
    assert same.id == message.id

    with pytest.raises(LeaseLostError, match="the lease on message #1 is lost"):
        slow.consume(message.id)

    quick.consume(message.id)
    assert connect(WORKER).read(message.id).attempts == 1


@pytest.mark.parametrize("ack", ["prefetch", "ahead"])  # the second is the old name of the first
def test_over_the_socket_an_ack_for_a_subscription_needs_its_lease(
    serve: Callable[..., Served], connect: Connect, ack: str
) -> None:
    connect("boss:s").send_many([{"to": WORKER, "type": "job", "body": n} for n in range(2)])
    served = serve()
    with served.connect() as line, served.connect() as other:
        number = line.ask("subscribe", {"role": WORKER, "ack": ack, "window": 2})["subscription"]
        first, second = (line.push()["message"]["id"] for _ in range(2))

        assert line.ask("ack", {"id": first, "subscription": number}) == {"acked": [first]}
        assert line.error("ack", {"id": first, "subscription": number})["data"]["kind"] == "lease_lost"
        assert other.error("ack", {"id": second, "subscription": number})["data"]["kind"] == "invalid_params"
        log = line.ask("tail")["subscription"]
        assert "nothing is acked" in line.error("ack", {"id": second, "subscription": log})["message"]
        assert connect(WORKER).read(second).state == "sent"


def test_a_fetch_stops_before_the_message_that_brings_its_json_over_the_bytes(
    boss: BusClient, subscribe: Callable[..., PullSubscription]
) -> None:
    boss.send_many([{"to": WORKER, "type": "job", "body": "x" * 100_000} for _ in range(10)])
    subscription = subscribe()

    sizes = [len(subscription.fetch(10, max_bytes=350_000)) for _ in range(5)]

    assert sizes == [3, 3, 3, 1, 0]


def test_a_page_of_the_log_stops_before_the_message_that_brings_its_json_over_the_bytes(
    boss: BusClient, db: str
) -> None:
    boss.send_many([{"to": WORKER, "type": "job", "body": "x" * 100_000} for _ in range(10)])

    with HostedBus.at(WORKER, db) as bus:
        log = bus.log()
        pages = [[message.id for message in log.page(max_bytes=450_000)] for _ in range(4)]

    assert pages == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]


def test_without_checkpoints_the_wal_grows_until_it_is_told_to_be_written_back(db: str, foreign: Foreign) -> None:
    with HostedBus.at("boss:s", db, checkpoints=False) as bus:
        for _ in range(300):
            bus.send(WORKER, "note", "x" * 20_000)
        assert bus.wal_size() > 6_000_000
        bus.checkpoint()
        before = bus.wal_size()

        bus.send(WORKER, "note", "written from the start again")

        assert bus.wal_size() <= before
        assert foreign.value("SELECT count(*) FROM messages") == 301
