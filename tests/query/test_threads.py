"""Threads: the conversation of a message, connected by `reply_to`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient, BusObserver, MessageNotFoundError
from tests.support import Foreign

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]


@pytest.fixture
def boss(connect: Connect) -> BusClient:
    return connect("boss:s")


@pytest.fixture
def worker(connect: Connect) -> BusClient:
    return connect("worker:s")


def thread(bus: BusObserver, message_id: int, **options: Any) -> list[int]:
    return [msg.id for msg in bus.thread(message_id, **options)]


def link(bus: BusClient, *replies_to: int | None) -> None:
    """Send messages 1, 2, ...; each replies to the message whose id is given for it."""
    for reply_to in replies_to:
        bus.send("worker:s", "note", reply_to=reply_to)


def test_a_conversation_is_seen_in_order_from_any_of_its_messages(boss: BusClient, worker: BusClient) -> None:
    asked = boss.send("worker:s", "ask", "first?")
    boss.send("worker:s", "note", "of something else", correlation_id="x")
    answer = worker.reply(asked, "answer", "second")
    thanks = boss.reply(answer, "thanks", "third")
    more = worker.reply(asked, "more", "fourth")

    ids = [asked.id, answer.id, thanks.id, more.id]
    assert [thread(boss, message_id) for message_id in ids] == [ids] * 4
    assert [msg.body for msg in boss.thread(thanks.id)] == ["first?", "second", "third", "fourth"]
    assert boss.thread(asked.id) == [boss.read(message_id) for message_id in ids]


def test_a_tree_is_seen_whole_from_every_leaf(boss: BusClient) -> None:
    link(boss, None, 1, 1, 2, 2, 3, 6, None, 8)

    assert [thread(boss, message_id) for message_id in range(1, 8)] == [[1, 2, 3, 4, 5, 6, 7]] * 7
    assert thread(boss, 8) == thread(boss, 9) == [8, 9]


def test_a_thread_of_a_thousand_replies_is_seen_from_its_end(boss: BusClient) -> None:
    boss.send_many([{"to": "worker:s", "type": "note", "reply_to": number or None} for number in range(1000)])

    assert thread(boss, 1000) == [*range(1, 1001)]
    assert thread(boss, 1000, max=3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("replies_to", "whole"),
    [([1], [1]), ([2, 1], [1, 2]), ([3, 1, 2, 2, None], [1, 2, 3, 4]), ([2, None], [1, 2])],
)
def test_a_circle_of_replies_ends(
    boss: BusClient, foreign: Foreign, replies_to: list[int | None], whole: list[int]
) -> None:
    for reply_to in replies_to:
        foreign.send("worker:s", reply_to=reply_to)

    assert [thread(boss, message_id) for message_id in whole] == [whole] * len(whole)


def test_a_thread_goes_on_around_a_message_that_was_pruned(boss: BusClient, worker: BusClient) -> None:
    link(boss, None, 1, 1, 2)
    worker.ack(1)
    boss.prune(0, grace_s=0)

    assert [thread(boss, message_id) for message_id in (1, 2, 3, 4)] == [[2, 3, 4]] * 4
    with pytest.raises(MessageNotFoundError):
        boss.read(1)


def test_a_thread_of_a_pruned_message_without_replies_is_an_error(boss: BusClient, worker: BusClient) -> None:
    link(boss, None, 1, None)
    for message_id in (1, 2):
        worker.ack(message_id)
    boss.prune(0, grace_s=0)

    with pytest.raises(MessageNotFoundError, match="there is no message #2: it was never sent, or it was pruned"):
        boss.thread(2)
    assert thread(boss, 3) == [3]


@pytest.mark.parametrize(
    ("role", "seen"),
    [
        (None, [1, 2, 3]),
        ("boss:s", [1, 2]),
        ("worker:s", [1, 2, 3]),
        ("other:s", [3]),
        (["other:s", "boss:s"], [1, 2, 3]),
        ("nobody:s", []),
    ],
)
def test_a_thread_of_some_addresses_leaves_out_the_others(
    boss: BusClient, worker: BusClient, role: str | list[str] | None, seen: list[int]
) -> None:
    worker.reply(boss.send("worker:s", "ask"), "answer")
    worker.send("other:s", "note", reply_to=2)

    assert thread(boss, 1, role=role) == thread(boss, 3, role=role) == seen


def test_reading_a_thread_marks_nothing(boss: BusClient, worker: BusClient, foreign: Foreign) -> None:
    link(boss, None, 1)
    before = foreign.execute("SELECT * FROM deliveries"), foreign.value("PRAGMA data_version")

    worker.thread(1)

    assert (foreign.execute("SELECT * FROM deliveries"), foreign.value("PRAGMA data_version")) == before


def test_history_goes_by_correlation_and_not_by_replies(boss: BusClient, worker: BusClient) -> None:
    asked = boss.send("worker:s", "ask", correlation_id=17, task_id="t")
    boss.send("worker:s", "note", correlation_id="17")
    answer = worker.reply(asked, "answer")
    stray = worker.reply(asked, "answer", correlation_id="other")

    assert [msg.id for msg in boss.history(17)] == [1, 2, answer.id]
    assert [msg.id for msg in boss.history("17", role="boss:s", max=2)] == [1, 2]
    assert [msg.id for msg in boss.history(task_id="t")] == [1, answer.id, stray.id]
    assert boss.history("nothing") == []
    assert thread(boss, asked.id) == [1, answer.id, stray.id]
