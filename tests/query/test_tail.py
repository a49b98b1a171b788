"""Tail: every message once and in order, consuming none; with `follow` also each new message."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from raven import BusClient, BusObserver
from tests.support import NEVER_POLLS_S, Foreign, bells, wait_for_waiting, wait_until

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]
ALL_TRAFFIC = "*"


def test_without_follow_it_ends_at_the_newest(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "note", "body": number} for number in range(3)])

    assert [msg.body for msg in bus.tail(follow=False)] == [0, 1, 2]
    assert [msg.body for msg in bus.tail(2, follow=False)] == [1, 2]
    assert [msg.body for msg in bus.tail(0, follow=False)] == [0, 1, 2]
    assert list(bus.tail(4, follow=False)) == []
    assert len(bus.inbox()) == 3


def test_a_long_log_comes_in_pages_without_a_gap_or_a_repeat(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": f"w{number % 2}:s", "type": "note"} for number in range(1201)])

    assert [msg.id for msg in bus.tail(follow=False)] == [*range(1, 1202)]
    assert [msg.id for msg in bus.tail(role="w1:s", follow=False)] == [*range(2, 1202, 2)]


def test_a_message_sent_while_a_page_is_read_comes_once(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "note"}] * 501)
    tail = iter(bus.tail(timeout_s=1.0, poll_interval_s=0.1))
    seen = [msg.id for msg in islice(tail, 500)]

    bus.send("worker:s", "note")
    seen += [msg.id for msg in islice(tail, 2)]
    bus.send("worker:s", "note")
    seen += [msg.id for msg in tail]

    assert seen == [*range(1, 504)]


def test_a_follower_hears_a_send_at_once(db: str, connect: Connect) -> None:
    bus = connect("worker:s")
    heard: list[tuple[int, float]] = []

    def follow() -> None:
        with BusObserver(db) as observer:
            for message in observer.tail(poll_interval_s=NEVER_POLLS_S):
                heard.append((message.id, time.monotonic()))
                if message.id == 5:
                    return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    wait_for_waiting(db, ALL_TRAFFIC)
    for number in range(5):
        sent_at = time.monotonic()
        bus.send("worker:s", "note")
        wait_until(lambda: len(heard) > number, "the follower's hearing")  # noqa: B023
        assert heard[-1][1] - sent_at < 5
    thread.join(10)

    assert not thread.is_alive()
    assert [number for number, _ in heard] == [1, 2, 3, 4, 5]
    assert bells(db) == []


def test_a_follower_hears_a_foreign_send_too(db: str, connect: Connect, foreign: Foreign) -> None:
    connect("worker:s")
    heard: list[Any] = []

    def follow() -> None:
        with BusObserver(db) as observer:
            heard.extend(islice(observer.tail(poll_interval_s=0.5), 1))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    wait_for_waiting(db, ALL_TRAFFIC)
    foreign.send("worker:s", "x")
    thread.join(10)

    assert [msg.body for msg in heard] == ["x"]


@pytest.mark.file_only
def test_following_ends_after_its_time_and_leaves_nothing(db: str, connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note")
    began = time.monotonic()

    assert [msg.id for msg in bus.tail(timeout_s=0.2)] == [1]
    assert time.monotonic() - began >= 0.2
    assert bells(db) == []


def test_a_followed_role_skips_others_and_goes_on(db: str, connect: Connect) -> None:
    bus = connect("boss:s")
    tail = iter(bus.tail(role="worker:s", timeout_s=0.5, poll_interval_s=0.1))
    for number in range(10):
        bus.send("worker:s" if number % 3 == 0 else "other:s", "note", number)

    assert [msg.body for msg in tail] == [0, 3, 6, 9]
