"""A request takes the reply of a recipient only; its private address is shown to nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient, BusObserver, InputError, Message
from tests.support import DEADLINE_S, Foreign, wait_until
from tests.thread_call import Asking, request

Connect = Callable[..., BusClient]
MODES = pytest.mark.parametrize("mode", ["blocking", "async"])
BOSS, ORACLE, FORGER = "boss:s", "oracle:s", "forger:s"


@pytest.fixture
def oracle(connect: Connect) -> BusClient:
    return connect(ORACLE)


@pytest.fixture
def forger(connect: Connect) -> BusClient:
    return connect(FORGER)


@pytest.fixture
def asking(connect: Connect, oracle: BusClient, mode: str) -> Asking:
    return Asking(lambda: request(connect(BOSS), mode, ORACLE, "may I?", timeout_s=DEADLINE_S))


def asked_of(bus: BusClient) -> Message:
    (asked,) = wait_until(bus.inbox, "the request")
    return asked


def wait_until_acked(db: str, *ids: int) -> None:
    with BusObserver(db) as observer:
        for number in ids:
            observer.wait_receipt(number, "acked", DEADLINE_S)


@MODES
@pytest.mark.both_ways
def test_only_a_recipient_that_names_the_request_answers_it(
    db: str, asking: Asking, oracle: BusClient, forger: BusClient
) -> None:
    asked = asked_of(oracle)
    private = str(asked.reply_address)

    forged = [
        forger.send(private, "answer", "of another", reply_to=asked.id),
        oracle.send(private, "answer", "to no request"),
        oracle.send(private, "answer", "to another request", reply_to=asked.id + 1),
    ]
    wait_until_acked(db, *(one.id for one in forged))
    oracle.reply(asked, "answer", "no")

    assert asking.outcome().body == "no"


@MODES
@pytest.mark.both_ways
def test_every_recipient_of_a_broadcast_can_answer_it(connect: Connect, oracle: BusClient, mode: str) -> None:
    helper, boss = connect("helper:s"), connect(BOSS)
    helper.inbox()  # registers, over the socket too
    asking = Asking(lambda: request(boss, mode, "*:s", "may I?", timeout_s=DEADLINE_S))

    helper.reply(asked_of(helper), "answer", "yes")

    assert asking.outcome().sender == "helper:s"


@MODES
def test_a_flood_of_forged_answers_delays_nothing_for_ever(
    asking: Asking, oracle: BusClient, forger: BusClient
) -> None:
    asked = asked_of(oracle)
    flood = [{"to": asked.reply_address, "type": "answer", "reply_to": asked.id}] * 1000

    forger.send_many(flood)
    oracle.reply(asked, "answer", "no")

    assert asking.outcome().body == "no"


@MODES
@pytest.mark.both_ways
def test_a_reply_of_another_address_is_refused(asking: Asking, oracle: BusClient, forger: BusClient) -> None:
    asked = asked_of(oracle)

    for given in (asked, asked.id):
        with pytest.raises(InputError, match=rf"request #{asked.id} was not sent to {FORGER}: only its recipients"):
            forger.reply(given, "answer", "yes")

    oracle.reply(asked, "answer", "no")
    assert asking.outcome().body == "no"


@MODES
@pytest.mark.both_ways
def test_the_private_address_of_a_request_is_in_no_list(asking: Asking, oracle: BusClient, forger: BusClient) -> None:
    asked = asked_of(oracle)
    oracle.reply(asked, "answer", "no", delay_s=1)  # waits at the private address

    seen = [peer.address for peer in forger.peers()]
    assert {BOSS, ORACLE} <= set(seen) <= {BOSS, ORACLE, FORGER}
    assert [one.address for one in forger.stats().addresses] == sorted(seen)
    assert forger.stats().delayed == 1
    assert asking.outcome().body == "no"


def test_no_pattern_matches_a_private_address(connect: Connect, foreign: Foreign, oracle: BusClient) -> None:
    private, alike = "boss+0123456789abcdef:s", "c+0123456789abcdeg:s"
    bus = connect(BOSS)
    with pytest.raises(InputError, match="has the form of a private reply address: use another role"):
        bus.register(private)
    connect(private).send(ORACLE, "note")
    bus.register(alike)
    for address in (private, "x+00000000000000ff:s"):  # as another program might write it
        foreign.execute(
            "INSERT INTO identities (address, role, session, registered_at, last_seen) VALUES (?, ?, 's', 1, 1)",
            address,
            address.partition(":")[0],
        )

    foreign.send("*:s", sender=BOSS)

    assert bus.recipients(2) == bus.recipients(bus.send("*:s", "note").id) == [alike, ORACLE]


RESERVED = ["raven.undelivered", "raven.", "raven.new", "Raven.undelivered", "RAVEN.x"]


@pytest.mark.parametrize("type", RESERVED)
@pytest.mark.both_ways
def test_a_type_of_raven_is_refused_wherever_a_message_is_sent(connect: Connect, oracle: BusClient, type: str) -> None:
    bus: Any = connect(BOSS)
    first = oracle.send(BOSS, "raven", "the word alone is free")

    for send in (
        lambda: bus.send(ORACLE, type),
        lambda: bus.send_many([{"to": ORACLE, "type": type}]),
        lambda: bus.reply(first.id, type),
        lambda: bus.request(ORACLE, type, timeout_s=1),
    ):
        with pytest.raises(InputError, match=rf"type '{type}' begins with 'raven\.', as only raven's own messages do"):
            send()
    assert bus.last_id() == first.id


def test_reserved_messages_of_an_older_file_can_be_read(connect: Connect, foreign: Foreign, oracle: BusClient) -> None:
    columns = """messages (sender, "to", type, body, created_at)"""
    foreign.execute(f"INSERT INTO {columns} VALUES (?, ?, 'raven.old', '1', 1)", BOSS, ORACLE)
    foreign.execute("INSERT INTO deliveries (id, recipient, urgency) VALUES (1 << 20, ?, 1)", ORACLE)

    assert [(msg.type, msg.body) for msg in oracle.inbox()] == [("raven.old", 1)]
    oracle.ack(1)
