"""Waking is pushed: a subscriber that polls only once a minute gets every message at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from raven import BusClient
from scripts.harness.deadline import Limit
from tests.loop import Loop, taken
from tests.support import (
    NEVER_POLLS_S,
    Foreign,
    Program,
    bells,
    leased,
    raven_threads,
    wait_for_waiting,
    wait_until,
    waiting,
)

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
# Far below the poll interval, and far above the time of a wake on a busy machine.
AT_ONCE_S = Limit(5.0)


def options(**changes: Any) -> str:
    return json.dumps({"poll_interval_s": NEVER_POLLS_S, **changes})


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_a_send_wakes_a_waiting_subscriber(db: str, connect: Connect, spawn: Spawn, mode: str) -> None:
    bus = connect("boss:s")
    program = spawn("subscriber", db, "worker:s", options(mode=mode))

    for number in range(5):
        wait_for_waiting(db, "worker:s")
        sent_at = time.monotonic()
        bus.send("worker:s", "note", number)
        line = program.read()
        assert line["body"] == number
        assert line["heard_at"] - sent_at < AT_ONCE_S


@pytest.mark.parametrize("to", ["*:s", ["other:s", "worker:s"], "worker:*"])
def test_a_send_to_many_wakes_each_of_them(db: str, connect: Connect, spawn: Spawn, to: str | list[str]) -> None:
    bus = connect("boss:s")
    program = spawn("subscriber", db, "worker:s", options())
    wait_for_waiting(db, "worker:s")

    bus.send(to, "note", "all")

    assert program.read(AT_ONCE_S)["body"] == "all"


def test_many_sent_in_one_transaction_wake_each_recipient(db: str, connect: Connect, spawn: Spawn) -> None:
    bus = connect("boss:s")
    programs = {name: spawn("subscriber", db, name, options()) for name in ("a:s", "b:s")}
    for name in programs:
        wait_for_waiting(db, name)

    bus.send_many([{"to": name, "type": "note", "body": name} for name in programs])

    assert {program.read(AT_ONCE_S)["body"] for program in programs.values()} == {"a:s", "b:s"}


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_a_delayed_message_wakes_a_subscriber_in_time(db: str, connect: Connect, spawn: Spawn, mode: str) -> None:
    bus = connect("boss:s")
    program = spawn("subscriber", db, "worker:s", options(mode=mode))
    wait_for_waiting(db, "worker:s")
    sent_at = time.monotonic()

    bus.send("worker:s", "note", delay_s=0.4)

    assert 0.39 < program.read()["heard_at"] - sent_at < AT_ONCE_S


def test_a_message_between_the_query_and_the_wait_is_not_missed(db: str, connect: Connect, spawn: Spawn) -> None:
    bus = connect("boss:s")
    program = spawn("subscriber", db, "worker:s", options())

    for number in range(300):  # each message comes at another moment of the subscriber's loop
        bus.send("worker:s", "note", number)
        if number % 3 == 0:
            assert program.read()["body"] == (number // 3)

    assert [program.read()["body"] for _ in range(200)] == [*range(100, 300)]


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_a_leaving_subscribers_released_messages_wake_another_at_once(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign, mode: str
) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "note"}] * 100)
    loop: Any = iter(bus.listen())
    in_hand = next(message for message in loop if leased(foreign))
    other = spawn("subscriber", db, "worker:s", options(mode=mode))
    held = leased(foreign)
    taken = [other.read()["id"] for _ in range(100 - in_hand.id - held)]
    wait_until(lambda: waiting(db, "worker:s") == 2, "both at their doorbells")

    left_at = time.monotonic()
    loop.close()
    lines = [other.read() for _ in range(held)]

    assert sorted(taken + [line["id"] for line in lines]) == [*range(in_hand.id + 1, 101)]
    assert lines[-1]["heard_at"] - left_at < Limit(2)  # and not at the end of the lease


def test_closing_a_client_ends_its_loops_in_other_threads_at_once(db: str, connect: Connect) -> None:
    bus = connect("worker:s")
    with ThreadPoolExecutor(2) as pool:
        loops = [pool.submit(list, bus.listen(poll_interval_s=NEVER_POLLS_S)) for _ in range(2)]
        wait_for_waiting(db, "worker:s", 2)

        bus.close()

        assert [loop.result(AT_ONCE_S) for loop in loops] == [[], []]
    assert bells(db) == []
    wait_until(lambda: not raven_threads(), "the end of the threads")


def test_closing_a_client_releases_the_prefetched_messages_of_its_loops(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "note"}] * 100)
    loop = iter(bus.listen())
    in_hand = next(message for message in loop if leased(foreign))

    bus.close()
    assert list(loop) == []

    assert leased(foreign) == 0
    rest = [message.id for message in taken(connect("worker:s"))]
    assert rest == [*range(in_hand.id + 1, 101)]


def test_a_timeout_ends_a_loop_no_earlier(connect: Connect) -> None:
    began = time.monotonic()

    assert list(connect("worker:s").listen(timeout_s=0.2, poll_interval_s=NEVER_POLLS_S)) == []

    assert 0.2 <= time.monotonic() - began < AT_ONCE_S


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_ready_messages_are_consumed_even_with_a_timeout_of_zero(connect: Connect, mode: str) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", 1)

    for expected in ([1], []):
        loop = Loop(bus, mode, timeout_s=0)
        assert [message.body for message in loop] == expected
        loop.close()
