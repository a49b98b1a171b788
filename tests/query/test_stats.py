"""Statistics: the counts, the samples for rates and latencies, and that reading them changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient, BusObserver, Stats
from raven.model import clock
from raven.model.status import AddressStats, Latency
from raven.wake.doorbell import Doorbells
from tests.support import Foreign, Program, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
MINUTE = 60_000_000


def of(stats: Stats, address: str) -> AddressStats:
    """Return the statistics of one address."""
    return next(one for one in stats.addresses if one.address == address)


def fill(
    foreign: Foreign,
    count: int,
    *,
    age_s: float,
    delivered_s: float | None = None,
    acked_s: float | None = None,
    to: str,
) -> None:
    """Store deliveries to one address that were sent, delivered and acked the given numbers of seconds ago."""
    now = clock.now()
    sent, delivered, acked = (
        None if age is None else now - clock.to_micros(age) for age in (age_s, delivered_s, acked_s)
    )
    first = foreign.value("SELECT coalesce(max(id), 0) + 1 FROM messages")
    foreign.execute(
        'INSERT INTO messages (id, sender, "to", type, body, created_at)'
        " WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " SELECT i, 'boss:s', ?, 'job', '1', ? FROM n",
        first, first + count - 1, to, sent,
    )  # fmt: skip
    foreign.execute(
        "INSERT INTO deliveries (id, recipient, urgency, state, attempts, delivered_at, finished_at)"
        " SELECT id << 20, \"to\", 1, ?, 1, ?, ? FROM messages WHERE id >= ?",
        0 if delivered is None else 1 if acked is None else 2, delivered, acked, first,
    )  # fmt: skip


def test_an_empty_bus_has_nothing_to_count(connect: Connect) -> None:
    bus = connect("worker:s", register=False)

    stats = bus.stats()

    assert (stats.messages, stats.ready, stats.delayed, stats.in_flight, stats.dead) == (0, 0, 0, 0, 0)
    assert stats.deliveries == {"sent": 0, "delivered": 0, "acked": 0, "expired": 0, "dead": 0}
    assert stats.addresses == ()
    assert stats.rates == (0, 0, 0)
    assert stats.send_to_delivery == stats.delivery_to_ack == Latency(0, None, None, None, None)


@pytest.mark.both_ways
def test_deliveries_are_counted_by_state_and_by_availability(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note")
    bus.send("worker:s", "note", delay_s=1000)
    bus.send(["other:s", "third:s"], "note")
    bus.send("worker:s", "note", urgency="blocking")
    bus.claim(lease_s=1000)
    bus.ack(bus.send("worker:s", "note").id)
    bus.send("worker:s", "note", expires_in_s=0.000001)

    stats = bus.stats()

    assert stats.messages == 6
    assert stats.deliveries == {"sent": 4, "delivered": 1, "acked": 1, "expired": 1, "dead": 0}
    assert (stats.ready, stats.delayed, stats.in_flight, stats.dead) == (3, 1, 1, 0)
    assert of(stats, "worker:s")[2:6] == (1, 1, 1, 0)
    assert of(stats, "third:s")[2:6] == (1, 0, 0, 0)


@pytest.mark.both_ways
def test_a_delivery_counts_as_dead_before_its_death_is_written(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", max_attempts=1)
    bus.send("worker:s", "note", max_attempts=1)
    first = bus.claim()[0]
    bus.nack(first.id)
    bus.claim(lease_s=0.001)

    wait_until(lambda: bus.stats().in_flight == 0, "the end of the lease")
    stats = bus.stats()

    assert (stats.dead, of(stats, "worker:s").dead, stats.ready) == (2, 2, 0)
    assert stats.deliveries == {"sent": 0, "delivered": 0, "acked": 0, "expired": 0, "dead": 2}
    assert stats.attempts == {}


def test_a_lease_that_ran_out_before_the_last_attempt_leaves_it_ready(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note")
    bus.claim(lease_s=0.001)

    wait_until(lambda: bus.stats().in_flight == 0, "the end of the lease")
    stats = bus.stats()

    assert (stats.ready, stats.dead, stats.deliveries and stats.deliveries["delivered"]) == (1, 0, 1)
    assert of(stats, "worker:s").oldest_s is not None


def test_the_oldest_is_the_oldest_that_can_be_taken_now(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "expired", expires_in_s=0.000001)
    bus.send("worker:s", "delayed", delay_s=1000)
    bus.send("worker:s", "fyi", urgency="fyi")
    bus.send("worker:s", "blocking", urgency="blocking")
    foreign.execute("UPDATE messages SET created_at = created_at - 1000000 * (100 - id)")

    oldest_s = of(bus.stats(), "worker:s").oldest_s

    assert oldest_s == pytest.approx(97, abs=5)


@pytest.mark.both_ways
def test_subscribers_are_counted_by_address_and_registered_addresses_are_listed(connect: Connect, db: str) -> None:
    bus = connect("worker:s")
    bus.register("worker:s", "idle:s")
    bells = [Doorbells(db).create("worker:s") for _ in range(2)]

    stats = bus.stats(full=False)

    assert [(one.address, one.role, one.waiting) for one in stats.addresses] == [
        ("idle:s", "idle", 0),
        ("worker:s", "worker", 2),
    ]
    for bell in bells:
        bell.close()


def test_attempts_count_unfinished_deliveries_only(connect: Connect) -> None:
    bus = connect("worker:s")
    for rounds in (1, 2, 3, 3):
        message = bus.send("worker:s", "note", urgency="blocking")
        for _ in range(rounds):
            assert bus.claim()[0].id == message.id
            bus.nack(message.id, delay_s=0)
        bus.nack(message.id, delay_s=1000)
    bus.ack(4)

    assert bus.stats().attempts == {2: 1, 3: 1}


def test_rates_are_deliveries_per_second_over_the_last_minute(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    fill(foreign, 50, age_s=600, delivered_s=600, acked_s=500, to="worker:s")
    fill(foreign, 6, age_s=600, delivered_s=300, acked_s=1, to="worker:s")
    fill(foreign, 30, age_s=20, delivered_s=10, to="worker:s")
    fill(foreign, 12, age_s=1, to="other:s")

    stats = bus.stats(full=False)

    assert stats.rates == (0.7, 0.5, 0.1)
    assert [one.rate for one in stats.addresses] == [0.2, 0.5]


def test_where_much_was_sent_the_rate_is_that_of_the_newest(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    fill(foreign, 4000, age_s=30, to="worker:s")
    fill(foreign, 10_000, age_s=5, delivered_s=5, acked_s=4, to="worker:s")

    rates = bus.stats(full=False).rates

    assert rates.sent == pytest.approx(2000, rel=0.2)
    assert rates.acked == pytest.approx(2500, rel=0.2)


def test_the_rate_of_an_old_backlog_is_seen(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    fill(foreign, 3000, age_s=600, delivered_s=2, acked_s=2, to="worker:s")
    fill(foreign, 11_000, age_s=600, to="worker:s")

    stats = bus.stats()

    assert stats.rates.sent == 0
    assert stats.rates.acked == pytest.approx(1000, rel=0.2)
    assert stats.delivery_to_ack is not None
    assert stats.delivery_to_ack.samples == 2000


def test_latencies_are_percentiles_of_the_newest_deliveries(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    for tenths in range(1, 101):
        fill(foreign, 1, age_s=100, delivered_s=100 - tenths / 10, acked_s=50 - tenths / 10, to="worker:s")
    fill(foreign, 1, age_s=100, to="worker:s")

    stats = bus.stats()

    assert stats.send_to_delivery == (100, *map(pytest.approx, (5, 9, 9.9, 10)))
    assert stats.delivery_to_ack == (100, *map(pytest.approx, (50, 50, 50, 50)))


def test_a_clock_that_was_set_back_makes_no_negative_latency(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    fill(foreign, 1, age_s=10, delivered_s=20, acked_s=30, to="worker:s")

    stats = bus.stats()

    assert stats.send_to_delivery == stats.delivery_to_ack == (1, 0, 0, 0, 0)


def test_long_counts_lose_nothing_between_their_batches(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    fill(foreign, 50_000, age_s=600, delivered_s=600, acked_s=600, to="worker:s")
    fill(foreign, 10, age_s=600, to="worker:s")

    stats = bus.stats()

    assert stats.messages == 50_010
    assert stats.deliveries == {"sent": 10, "delivered": 0, "acked": 50_000, "expired": 0, "dead": 0}


def test_sizes_are_those_of_the_files_and_prune_gives_the_free_back(
    connect: Connect, foreign: Foreign, db: str
) -> None:
    bus = connect("worker:s")
    for message in bus.send_many([{"to": "worker:s", "type": "note", "body": "x" * 100_000}] * 20):
        bus.ack(message.id)
    foreign.execute("DELETE FROM messages WHERE id < 15")

    before = bus.stats()
    bus.prune(0, grace_s=0)
    after = bus.stats()

    assert before.free_bytes > 14 * 100_000
    assert before.wal_bytes > 0
    assert after.free_bytes == after.wal_bytes == 0
    assert after.file_bytes == os.stat(db).st_size < 14 * 100_000


def test_a_look_waits_for_no_writer_and_writes_nothing(connect: Connect, spawn: Spawn, db: str) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", expires_in_s=0.000001)
    bus.send("worker:s", "note")
    spawn("lock_holder", db).read()

    with BusObserver(db, busy_timeout_s=0) as observer:
        stats = observer.stats()

    assert (stats.messages, stats.ready) == (2, 1)


@pytest.mark.both_ways
def test_stats_without_full_leave_out_the_counts_of_all_deliveries(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note")
    bus.ack(bus.send("worker:s", "note").id)

    full, quick = bus.stats().as_dict(), bus.stats(full=False).as_dict()

    left_out = {"messages", "deliveries", "attempts", "send_to_delivery", "delivery_to_ack"}
    assert {name for name, value in quick.items() if value is None} == left_out
    assert {name for name, value in full.items() if value is None} == set()
    assert quick.keys() == full.keys()


@pytest.mark.both_ways
@pytest.mark.parametrize("full", [True, False])
def test_the_json_shape_makes_the_same_statistics_again(connect: Connect, foreign: Foreign, full: bool) -> None:
    bus = connect("worker:s")
    fill(foreign, 3, age_s=3, delivered_s=2, acked_s=1, to="worker:s")
    bus.send("worker:s", "note")
    for _ in range(2):
        bus.nack(bus.claim()[0].id)
    stats = bus.stats(full=full)

    values: dict[str, Any] = json.loads(json.dumps(stats.as_dict()))

    assert Stats.from_dict(values) == stats
    with pytest.raises(KeyError):
        Stats.from_dict({name: value for name, value in values.items() if name != "rates"})


@pytest.mark.both_ways
def test_statistics_go_on_with_a_file_that_took_the_place_of_another(connect: Connect, db: str, tmp_path: Any) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note")
    other = str(tmp_path / "other.db")
    BusClient.at("boss:s", other).close()

    os.replace(other, db)

    assert bus.stats().messages == 0
