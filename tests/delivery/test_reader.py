"""A reader: unfinished mail without a mark, and a mark for what was shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from raven import BusClient
from raven.delivery.reader import Reader
from tests.support import wait_until

Connect = Callable[..., BusClient]


def reader_of(bus: BusClient) -> Reader:
    return Reader(bus._store, bus._identity, bus._doorbells, bus._mailbox)


def test_only_the_messages_that_were_shown_are_marked(connect: Connect) -> None:
    a, b = connect("a:s"), connect("b:s")
    b.send_many([{"to": "a:s", "type": "note"}] * 3)
    reader = reader_of(a)

    assert [message.id for message in reader.unacked(10)] == [1, 2, 3]
    reader.mark_delivered([1, 3])

    assert [b.receipts(id)[0].state for id in (1, 2, 3)] == ["delivered", "sent", "delivered"]


def test_a_second_mark_keeps_the_time_of_the_first_and_a_finished_message_its_state(connect: Connect) -> None:
    a, b = connect("a:s"), connect("b:s")
    b.send_many([{"to": "a:s", "type": "note"}] * 2)
    reader = reader_of(a)
    reader.mark_delivered([1])
    first = b.receipts(1)[0].delivered_at
    a.ack(2)

    reader.mark_delivered([1, 2])

    assert b.receipts(1)[0].delivered_at == first
    assert b.receipts(2)[0].state == "acked"


def test_a_mark_wakes_the_sender_that_waits_for_it(connect: Connect) -> None:
    a, b = connect("a:s"), connect("b:s")
    b.send("a:s", "note")
    reader_of(a).mark_delivered([1])

    assert b.wait_receipt(1, "delivered", timeout_s=1)[0].state == "delivered"


def test_the_mail_of_another_address_is_not_marked(connect: Connect) -> None:
    a, b = connect("a:s"), connect("b:s")
    b.send("c:s", "note")

    reader_of(a).mark_delivered([1, 99])

    assert b.receipts(1)[0].state == "sent"


def test_ready_messages_are_counted_without_those_under_a_lease(connect: Connect) -> None:
    a, b = connect("a:s"), connect("b:s")
    b.send_many([{"to": "a:s", "type": "note"}] * 3)
    a.claim()

    assert sorted(reader_of(a).ready_ids()) == [2, 3]


def test_the_replies_that_came_to_an_address_are_found_by_id(connect: Connect) -> None:
    a, b, c = connect("a:s"), connect("b:s"), connect("c:s")
    a.send(["b:s", "c:s"], "question")
    c.reply(1, "reply", "from c")
    b.reply(1, "reply", "from b")
    b.send("c:s", "aside", reply_to=1)
    a.ack(2)

    assert [(reply.body, reply.state) for reply in reader_of(a).replies_to(1)] == [
        ("from c", "acked"),
        ("from b", "sent"),
    ]
    assert reader_of(a).replies_to(3) == []


def test_a_heartbeat_keeps_an_address_that_only_waits(connect: Connect) -> None:
    a, b = connect("a:s", identity_ttl_s=0.4), connect("b:s")
    reader = reader_of(a)

    def seen() -> datetime | None:
        return next(peer.last_seen for peer in b.peers() if peer.address == "a:s")

    first = seen()
    assert first is not None

    def is_seen_again() -> bool:
        reader.heartbeat()
        return (seen() or first) > first

    wait_until(is_seen_again, "a later last_seen")
