"""BusClient.send: its recipients, its one transaction, and the returned message."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from raven import AddressError, BodyError, BusClient, InputError, Message, UnknownAddressError
from tests.support import Foreign

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]


def test_a_round_trip_in_the_five_lines_of_the_readme(db: str) -> None:
    a = BusClient(session_id="swarm-1", role="conductor", db_path=db)
    b = BusClient(session_id="swarm-1", role="architect", db_path=db)
    a.send(to="architect:swarm-1", type="plan", body={"step": 1})
    for msg in b.inbox():
        b.ack(msg.id)

    assert (msg.sender, msg.type, msg.body) == ("conductor:swarm-1", "plan", {"step": 1})
    assert b.inbox() == []
    a.close()
    b.close()


def test_send_returns_the_message_that_the_recipient_reads(connect: Connect) -> None:
    bus = connect("worker:s")

    sent = bus.send(
        "worker:s", "plan", {"ort": "Zürich"}, urgency="blocking", tags=["x", "ü"], correlation_id=17, reply_to=3,
        task_id="t", expires_in_s=1000, dedup_key="k", report="undelivered", max_attempts=3,
    )  # fmt: skip

    (seen,) = bus.inbox(peek=True)
    assert seen == sent
    assert (sent.body, sent.tags, sent.correlation_id, sent.reply_to) == ({"ort": "Zürich"}, ("x", "ü"), "17", 3)
    assert (sent.task_id, sent.dedup_key, sent.urgency, sent.state) == ("t", "k", "blocking", "sent")
    assert sent.expires_at == sent.created_at + timedelta(seconds=1000)
    assert abs(sent.created_at - datetime.now(UTC)) < timedelta(seconds=30)
    assert (sent.report, bus.receipts(sent.id)[0].max_attempts) == ("undelivered", 3)
    assert bus.read(sent.id) == sent


def test_an_unused_address_gets_its_mail_when_it_first_connects(connect: Connect) -> None:
    connect("boss:s").send("late:s", "note", 1)

    assert [msg.body for msg in connect("late:s").inbox()] == [1]


def test_a_list_reaches_each_of_its_addresses_once(connect: Connect) -> None:
    bus = connect("boss:s")

    sent = bus.send(["a:s", "b:s", "a:s", "boss:s"], "note")

    assert bus.recipients(sent.id) == ["a:s", "b:s", "boss:s"]
    assert sent.to == ("a:s", "b:s", "boss:s")
    assert [len(connect(address).inbox()) for address in ("a:s", "b:s", "boss:s", "c:s")] == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("to", "reached"),
    [
        ("*:s", ["a:s", "b:s"]),
        ("a:*", ["a:s", "a:t"]),
        ("*:*", ["a:s", "a:t", "b:s"]),
        (["*:s", "x:y"], ["a:s", "b:s", "x:y"]),
        (["b:s", "*:s", "a:*"], ["b:s", "a:s", "a:t"]),
        (["late:s", "*:s", "a:*", "a:s", "late:s"], ["late:s", "a:s", "b:s", "a:t"]),
        (["*:s", "boss:s"], ["a:s", "b:s", "boss:s"]),
        (["boss:s", "*:s"], ["boss:s", "a:s", "b:s"]),
    ],
)
def test_a_broadcast_reaches_each_of_the_registered_once_and_its_sender_only_if_named(
    connect: Connect, to: str | list[str], reached: list[str]
) -> None:
    bus = connect("boss:s")
    bus.register("a:s", "b:s", "a:t")

    sent = bus.send(to, "note")

    assert bus.recipients(sent.id) == reached


def test_each_recipient_acks_its_own_delivery_of_a_broadcast(connect: Connect) -> None:
    boss, a, b = (connect(address) for address in ("boss:s", "a:s", "b:s"))
    boss.register("a:s", "b:s")
    sent = boss.send("*:s", "note")

    a.ack(sent.id)

    assert (a.inbox(), len(b.inbox())) == ([], 1)
    assert boss.read(sent.id).state == "delivered"
    b.ack(sent.id)
    assert boss.read(sent.id).state == "acked"


@pytest.mark.parametrize("pattern", ["*:nowhere", "nobody:*", "Boss:*"])
def test_a_pattern_without_a_matching_address_is_an_error_and_stores_nothing(connect: Connect, pattern: str) -> None:
    bus = connect("boss:s")

    with pytest.raises(UnknownAddressError, match="no registered address matches") as caught:
        bus.send([pattern, "a:s"], "note")

    assert repr(pattern) in str(caught.value)
    assert isinstance(caught.value, LookupError)
    assert bus.last_id() == 0


def test_many_messages_are_stored_in_one_transaction_in_order(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    before = foreign.value("PRAGMA data_version")

    sent = bus.send_many([{"to": "worker:s", "type": "note", "body": number} for number in range(3)])

    assert [(msg.id, msg.body) for msg in sent] == [(1, 0), (2, 1), (3, 2)]
    assert bus.inbox(peek=True) == sent
    assert foreign.value("PRAGMA data_version") == before + 1


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"to": "worker"}, AddressError),
        ({"body": {1}}, BodyError),
        ({"urgency": "soon"}, InputError),
        ({"colour": "red"}, InputError),
        ({"to": "nobody:*"}, UnknownAddressError),
    ],
)
def test_of_many_messages_with_a_bad_one_none_is_stored(
    connect: Connect, bad: dict[str, Any], error: type[Exception]
) -> None:
    bus = connect("worker:s")
    good = {"to": "worker:s", "type": "note"}

    with pytest.raises(error):
        bus.send_many([good, {**good, **bad}, good])

    assert bus.last_id() == 0
    assert bus.inbox() == []


def test_many_may_be_none_at_all(connect: Connect) -> None:
    assert connect("worker:s").send_many([]) == connect("worker:s").send_many(()) == []


@pytest.mark.file_only
def test_a_body_over_the_clients_limit_is_refused(connect: Connect) -> None:
    bus = connect("worker:s", max_body_bytes=10)
    bus.send("worker:s", "note", "12345678")

    with pytest.raises(BodyError, match="11 bytes as JSON, over the limit of 10"):
        bus.send("worker:s", "note", "123456789")
    assert bus.last_id() == 1


@pytest.mark.parametrize(
    ("session", "role"),
    [
        ("", "alice"),
        ("s", ""),
        ("s", "bad:role"),
        ("bad:session", "r"),
        ("s", "*"),
        ("*", "r"),
        (" s", "r"),
        ("s", "r\n"),
    ],
)
def test_a_client_of_a_bad_address_is_a_value_error_and_makes_no_file(db: str, session: str, role: str) -> None:
    with pytest.raises(ValueError, match=r"^(session|role) ") as caught:
        BusClient(session, role, db)

    assert isinstance(caught.value, AddressError)
    with pytest.raises(FileNotFoundError):
        open(db)  # noqa: SIM115


@pytest.mark.parametrize("address", ["alice", "*:s", "a:b:c", ""])
def test_a_client_at_a_bad_address_is_a_value_error(db: str, address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        BusClient.at(address, db)


def test_a_client_can_be_made_from_its_parts_or_from_its_whole_address(db: str) -> None:
    with BusClient("s", "worker", db) as one, BusClient.at("worker:s", db) as other:
        assert one.address == other.address == "worker:s"


def test_ids_grow_and_are_those_of_the_order_of_commits(connect: Connect) -> None:
    buses = [connect("a:s"), connect("b:s")]
    sent: list[Message] = [buses[number % 2].send("worker:s", "note") for number in range(10)]

    assert [msg.id for msg in sent] == [*range(1, 11)]
    assert all(one.created_at <= other.created_at for one, other in pairwise(sent))
