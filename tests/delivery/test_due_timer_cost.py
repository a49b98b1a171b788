"""The cost of due timers: it grows with the timers that are due, not with the addresses that have mail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raven import BusClient
from raven.delivery import expiry
from raven.host.bus import HostedBus
from tests.support import Foreign, instructions

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
ADDRESSES = 10_000


@pytest.mark.parametrize(
    "options", [{}, {"delay_s": 3600}, {"expires_in_s": 3600}, {"expires_in_s": 600, "delay_s": 900}]
)
def test_many_addresses_with_mail_cost_an_idle_tick_nothing(hosted: Hosted, options: dict[str, float]) -> None:
    bus = hosted("boss:s")
    bus.send([f"{number}:junk" for number in range(ADDRESSES)], "junk", **options)

    with instructions(bus) as used:
        bus.run_maintenance()

        assert used() < 2000


def test_leased_mail_past_its_expiry_costs_no_claim_of_others_more(connect: Connect, foreign: Foreign) -> None:
    hoarder, worker = connect("hoarder:s"), connect("worker:s")
    hoarder.send_many([{"to": "hoarder:s", "type": "junk", "expires_in_s": 60}] * 5000)
    hoarder.claim(max=5000, lease_s=3600)
    foreign.execute("UPDATE deliveries SET expires_at = 1")
    hoarder.send("worker:s", "job")

    with instructions(worker) as used:
        assert len(worker.claim()) == 1

        assert used() < 2000


def test_a_tick_ends_after_its_time_and_the_next_ones_do_the_rest(
    hosted: Hosted, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = hosted("boss:s")
    bus.send([f"{number}:junk" for number in range(ADDRESSES)], "junk", expires_in_s=0.001)
    bus.send([f"{number}:junk" for number in range(ADDRESSES)], "junk", delay_s=0.001)

    first = expiry.apply_due(bus._store, bus._doorbells.ring, at_most_s=0.0)
    unchanged = foreign.value("SELECT count(*) FROM deliveries WHERE state = 3")
    ticks = 1
    while expiry.apply_due(bus._store, bus._doorbells.ring, at_most_s=0.02):
        ticks += 1

    assert (first, unchanged) == (True, 0)
    assert ticks > 1
    assert foreign.value("SELECT count(*) FROM deliveries WHERE state = 3") == ADDRESSES
    assert foreign.value("SELECT count(*) FROM deliveries WHERE state = 0 AND ready_at = 0") == ADDRESSES


def test_ended_leases_of_many_addresses_are_all_released(connect: Connect, hosted: Hosted, foreign: Foreign) -> None:
    boss = connect("boss:s")
    addresses = [f"{number}:s" for number in range(1200)]
    boss.send(addresses, "job", max_attempts=1, report="undelivered")
    foreign.execute("UPDATE deliveries SET lease = 7, ready_at = 1, attempts = 1, state = 1")

    assert not expiry.apply_due(boss._store, boss._doorbells.ring)

    assert foreign.value("SELECT count(*) FROM deliveries WHERE state = 4") == len(addresses)
    assert {message.body["recipient"] for message in boss.inbox(max=2000)} == set(addresses)
