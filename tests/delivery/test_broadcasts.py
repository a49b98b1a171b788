"""Broadcasts: one message, stored once, for all addresses registered at that moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raven import BusClient, InputError, RavenError
from raven.delivery import outbox as posting
from raven.host.bus import HostedBus
from tests.support import Foreign, Program, wait_for_waiting

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
Spawn = Callable[..., Program]


@pytest.fixture
def boss(connect: Connect) -> BusClient:
    return connect("boss:s")


def counts(foreign: Foreign) -> tuple[int, int]:
    """Return the number of messages and of deliveries."""
    return foreign.value("SELECT count(*) FROM messages"), foreign.value("SELECT count(*) FROM deliveries")


def test_one_body_is_stored_for_a_hundred_recipients(db: str, boss: BusClient, foreign: Foreign) -> None:
    boss.register(*(f"worker-{number:02}:s" for number in range(100)))
    body = "x" * 100_000

    sent = boss.send("*:s", "note", body)

    assert counts(foreign) == (1, 100)
    assert boss.recipients(sent.id) == [f"worker-{number:02}:s" for number in range(100)]
    assert foreign.value("SELECT sum(length(body)) FROM messages") == 100_002
    assert foreign.value("PRAGMA page_count") * foreign.value("PRAGMA page_size") < 3 * 100_000


@pytest.mark.parametrize("pattern", ["*:s", "late:*", "*:*"])
def test_a_late_address_gets_only_later_broadcasts(boss: BusClient, connect: Connect, pattern: str) -> None:
    boss.register("early:s", "late:t")
    boss.send(pattern, "note", "before")
    late = connect("late:s")

    boss.send(pattern, "note", "after")

    assert [msg.body for msg in late.inbox()] == ["after"]


def test_an_address_registered_in_advance_gets_broadcasts(boss: BusClient, connect: Connect) -> None:
    boss.register("later:s")
    boss.send("*:s", "note", 1)

    assert [msg.body for msg in connect("later:s").inbox()] == [1]


def test_an_unregistered_address_with_mail_gets_no_broadcast(boss: BusClient) -> None:
    boss.send("stranger:s", "note")
    boss.register("a:s")

    assert boss.recipients(boss.send("*:s", "note").id) == ["a:s"]


def test_a_bad_address_inside_a_transaction_costs_only_its_own_message(boss: BusClient, foreign: Foreign) -> None:
    boss.register("a:s", "b:s")

    with boss.transaction() as tx:
        tx.send("*:s", "note")
        with pytest.raises(RavenError):
            tx.send(["*:s", "nobody:*"], "note")
        tx.send("a:s", "note")

    assert counts(foreign) == (2, 3)


def test_an_address_registered_in_the_same_transaction_gets_the_broadcast(boss: BusClient) -> None:
    with boss.transaction() as tx:
        tx.register("a:s")
        first = tx.send("*:s", "note")
        tx.register("b:s")
        second = tx.send("*:s", "note")

    assert [boss.recipients(sent.id) for sent in (first, second)] == [["a:s"], ["a:s", "b:s"]]


def test_every_subscriber_hears_a_broadcast_once(db: str, boss: BusClient, spawn: Spawn) -> None:
    programs = [spawn("subscriber", db, f"{name}:s") for name in "abc"]
    for name in "abc":
        wait_for_waiting(db, f"{name}:s")

    sent = boss.send(["*:s", "a:s", "*:*"], "note", "all")
    boss.send_many([{"to": f"{name}:s", "type": "note", "body": "last"} for name in "abc"])

    assert sent.waiting == {"a:s": True, "b:s": True, "c:s": True}
    assert [[program.read()["body"] for _ in range(2)] for program in programs] == [["all", "last"]] * 3


def test_a_broadcast_to_more_recipients_than_a_message_may_have_is_refused(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "MAX_RECIPIENTS", 2)
    bus = connect("boss:s")
    bus.register("worker:a", "worker:b", "worker:c")

    with pytest.raises(InputError, match="3 recipients is over the limit of 2"):
        bus.send("worker:*", "note")

    assert bus.last_id() == 0
