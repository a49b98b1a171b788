"""Reading: the inbox shows unacked messages until the ack, and a read changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from raven import BusClient, BusObserver, InputError
from tests.loop import taken
from tests.support import Foreign, wait_until

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]


@pytest.mark.file_only
def test_the_inbox_goes_by_urgency_and_then_by_id(connect: Connect) -> None:
    bus = connect("worker:s")
    for number, urgency in enumerate(["fyi", "prompt", "blocking", "prompt", "fyi", "blocking"]):
        bus.send("worker:s", "note", number, urgency=urgency)

    assert [msg.body for msg in bus.inbox()] == [2, 5, 1, 3, 0, 4]
    assert [msg.body for msg in bus.inbox(max=3)] == [2, 5, 1]
    assert [msg.body for msg in taken(bus)] == [2, 5, 1, 3, 0, 4]


def test_the_inbox_shows_a_message_until_it_is_acked(connect: Connect) -> None:
    bus = connect("worker:s")
    sent = bus.send("worker:s", "note")

    assert [msg.id for msg in bus.inbox()] == [msg.id for msg in bus.inbox()] == [sent.id]
    bus.ack(sent.id)
    assert bus.inbox() == []


def test_the_first_sight_is_noted_and_later_ones_do_not_move_it(connect: Connect) -> None:
    bus = connect("worker:s")
    sent = bus.send("worker:s", "note")
    assert (sent.state, sent.delivered_at) == ("sent", None)

    (first,) = bus.inbox()
    (second,) = bus.inbox()

    assert first.state == second.state == "delivered"
    assert first.delivered_at == second.delivered_at
    assert first.delivered_at is not None
    assert first.delivered_at >= sent.created_at


def test_a_peek_marks_nothing(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    sent = bus.send("worker:s", "note")
    version = foreign.value("PRAGMA data_version")

    assert [msg.state for msg in bus.inbox(peek=True)] == ["sent"]

    assert bus.read(sent.id).state == "sent"
    assert foreign.value("PRAGMA data_version") == version


def test_only_the_messages_shown_are_marked_as_delivered(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "note"}] * 3)

    bus.inbox(max=2)

    assert [msg.state for msg in bus.inbox(peek=True)] == ["delivered", "delivered", "sent"]


def test_others_mail_is_not_shown(connect: Connect) -> None:
    connect("boss:s").send("worker:s", "note")

    assert connect("worker:t").inbox() == []
    assert connect("Worker:s").inbox() == []


def test_an_expired_message_is_not_shown_and_reads_as_expired(connect: Connect) -> None:
    bus = connect("worker:s")
    sent = bus.send("worker:s", "note", expires_in_s=0.3)
    assert [msg.id for msg in bus.inbox()] == [sent.id]

    wait_until(lambda: not bus.inbox(), "an inbox without the expired message")

    assert time.time() >= sent.created_at.timestamp() + 0.3
    assert bus.read(sent.id).state == "expired"
    assert list(bus.listen(timeout_s=0.1)) == []


def test_a_delayed_message_is_not_shown_before_its_time(connect: Connect) -> None:
    bus = connect("worker:s")
    sent = bus.send("worker:s", "note", delay_s=0.3)
    assert bus.inbox() == []

    (message,) = wait_until(bus.inbox, "the delayed message")

    assert message.id == sent.id
    assert time.time() >= sent.created_at.timestamp() + 0.3


def test_a_message_that_another_consumer_leases_is_still_in_the_inbox(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "note"}] * 50)
    loop = iter(bus.listen())
    taken = [next(loop).id for _ in range(10)]

    assert [msg.id for msg in bus.inbox()] == [*range(taken[-1] + 1, 51)]


def test_an_ack_twice_is_the_same_as_once(connect: Connect) -> None:
    bus = connect("worker:s")
    sent = bus.send("worker:s", "note")

    bus.ack(sent.id)
    first = bus.read(sent.id)
    bus.ack(sent.id)

    assert first.state == "acked"
    assert first.acked_at is not None
    assert bus.read(sent.id) == first


def test_an_ack_of_an_expired_message_changes_nothing_and_is_no_error(connect: Connect) -> None:
    bus = connect("worker:s")
    sent = bus.send("worker:s", "note", expires_in_s=0.000001)
    assert list(bus.listen(timeout_s=0.1)) == []

    bus.ack(sent.id)

    assert bus.read(sent.id).state == "expired"


def test_a_read_shows_a_recipient_its_own_delivery_and_others_the_whole(connect: Connect) -> None:
    boss, a, b = connect("boss:s"), connect("a:s"), connect("b:s")
    sent = boss.send(["a:s", "b:s"], "note")
    a.ack(sent.id)

    assert (a.read(sent.id).recipient, a.read(sent.id).state) == ("a:s", "acked")
    assert (b.read(sent.id).recipient, b.read(sent.id).state) == ("b:s", "sent")
    assert (boss.read(sent.id).recipient, boss.read(sent.id).state) == ("a:s, b:s", "sent")


def test_a_history_needs_one_key(connect: Connect) -> None:
    bus = connect("worker:s")

    with pytest.raises(InputError, match="either a correlation_id or a task_id"):
        bus.history()
    with pytest.raises(InputError, match="either a correlation_id or a task_id"):
        bus.history("c", task_id="t")
    with pytest.raises(InputError, match="max 0"):
        bus.history("c", max=0)


def test_an_observer_reads_everything_and_changes_nothing(db: str, connect: Connect, foreign: Foreign) -> None:
    sent = connect("boss:s").send("worker:s", "note", 1, correlation_id="c")
    version = foreign.value("PRAGMA data_version")

    with BusObserver(db) as observer:
        assert observer.read(sent.id).body == 1
        assert observer.recipients(sent.id) == ["worker:s"]
        assert [msg.body for msg in observer.history("c")] == [1]
        assert [msg.body for msg in observer.tail(follow=False)] == [1]
        assert [peer.address for peer in observer.peers()] == ["boss:s", "worker:s"]
        assert observer.last_id() == sent.id

    assert foreign.value("PRAGMA data_version") == version
