"""Identities: which calls register an address, and the list of `peers`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from raven import AddressError, BusClient, BusObserver, UnknownAddressError
from raven.delivery import identity
from raven.wake.doorbell import Doorbells
from tests.support import Foreign, Program, wait_for_waiting, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


def registered(foreign: Foreign) -> list[str]:
    return [row[0] for row in foreign.execute("SELECT address FROM identities ORDER BY address")]


def test_a_client_that_does_not_register_leaves_no_trace_by_reading_acking_or_sending(
    connect: Connect, foreign: Foreign
) -> None:
    sent = connect("boss:s").send("worker:s", "note")
    worker = connect("worker:s", register=False)

    worker.read(sent.id)
    worker.inbox()
    worker.ack(sent.id)
    worker.send("boss:s", "note")
    list(worker.listen(timeout_s=0.05))

    assert registered(foreign) == ["boss:s"]
    with pytest.raises(UnknownAddressError):
        worker.send("worker:*", "note")


def test_an_observer_registers_no_address(db: str, connect: Connect, foreign: Foreign) -> None:
    connect("boss:s")

    with BusObserver(db) as observer:
        observer.peers()
        list(observer.tail(timeout_s=0.05))

    assert registered(foreign) == ["boss:s"]


def test_addresses_can_be_registered_in_advance_in_one_transaction(connect: Connect, foreign: Foreign) -> None:
    bus = connect("boss:s")

    bus.register("a:s", "b:s")
    bus.register("a:s")
    with pytest.raises(AddressError):
        bus.register("c:s", "d")
    with pytest.raises(AddressError, match="broadcast pattern"):
        bus.register("*:s")

    assert registered(foreign) == ["a:s", "b:s", "boss:s"]


@pytest.mark.both_ways
def test_peers_lists_registered_addresses_and_addresses_with_mail(connect: Connect) -> None:
    bus = connect("boss:s")
    bus.register("worker:t")
    bus.send("stranger:s", "note")
    bus.send("worker:t", "note")
    bus.send("worker:t", "note")

    peers = {peer.address: peer for peer in bus.peers()}

    assert {address: peer.pending for address, peer in peers.items()} == {"boss:s": 0, "worker:t": 2, "stranger:s": 1}
    assert (peers["worker:t"].role, peers["worker:t"].session) == ("worker", "t")
    assert peers["stranger:s"].registered_at is None
    assert peers["stranger:s"].last_seen is None
    assert [peer.address for peer in bus.peers("t")] == ["worker:t"]
    assert bus.peers("nowhere") == []


@pytest.mark.both_ways
def test_pending_counts_unfinished_deliveries(connect: Connect) -> None:
    bus = connect("worker:s")
    sent = bus.send_many([{"to": "worker:s", "type": "note"}] * 3)

    bus.inbox(max=1)
    bus.ack(sent[2].id)

    assert bus.peers()[0].pending == 2


def test_a_clients_calls_update_last_seen_but_not_registered_at(connect: Connect) -> None:
    first = connect("worker:s").peers()[0]
    assert first.registered_at == first.last_seen
    assert first.last_seen is not None
    assert abs(first.last_seen - datetime.now(UTC)) < timedelta(seconds=30)

    (second,) = connect("worker:s").peers()

    assert second.registered_at == first.registered_at
    assert second.last_seen is not None
    assert second.last_seen > first.last_seen


def test_waiting_counts_the_subscribers_that_wait_right_now(db: str, connect: Connect, spawn: Spawn) -> None:
    bus = connect("boss:s")
    programs = [spawn("subscriber", db, "worker:s", f'{{"mode": "{mode}"}}') for mode in ("listen", "subscribe")]
    wait_for_waiting(db, "worker:s", 2)

    assert {peer.address: peer.waiting for peer in bus.peers()} == {"boss:s": 0, "worker:s": 2}

    for program in programs:
        program.kill()
    wait_until(lambda: {peer.waiting for peer in bus.peers()} == {0}, "nobody waiting")


def test_peers_count_the_subscribers_of_every_address_whatever_its_folder_is_called(db: str, connect: Connect) -> None:
    named = ["plain:s", "Größe 1:s", f"{'long' * 60}:s"]
    for address in (*named, "alone:s"):
        connect(address)
    doorbells = [Doorbells(db).create(address) for address in named for _ in range(2)]

    waiting = {peer.address: peer.waiting for peer in connect("boss:s").peers()}

    for doorbell in doorbells:
        doorbell.close()
    assert waiting == {**dict.fromkeys(named, 2), "alone:s": 0, "boss:s": 0}


@pytest.mark.both_ways
def test_a_peer_has_a_json_shape(connect: Connect) -> None:
    bus = connect("boss:s")
    bus.send("stranger:s", "note")

    known, stranger = (peer.as_dict() for peer in bus.peers())

    assert known["registered_at"] == known["last_seen"]
    assert known["registered_at"].endswith("Z")
    assert stranger == {
        "address": "stranger:s", "role": "stranger", "session": "s", "registered_at": None, "last_seen": None,
        "waiting": 0, "pending": 1, "host": None, "held": 0,
        "agent": None, "state": None, "cwd": None, "about": None,
    }  # fmt: skip


def test_a_read_of_an_empty_inbox_updates_last_seen(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_REFRESH_S", 0.1)
    bus = connect("worker:s")
    [registered] = bus.peers()

    def seen_later() -> bool:
        assert bus.inbox() == []
        return bus.peers()[0].last_seen != registered.last_seen

    wait_until(seen_later, "a later last_seen")
