"""Clients that connect and leave at any moment leave no subscription behind and disturb no other client."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from raven import BusClient
from tests.processes import needs_proc, open_files
from tests.rpc_server import Line, Served
from tests.support import wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]


def threads_of(served: Served) -> int:
    return len(os.listdir(f"/proc/{served.pid}/task"))


def fill(connect: Connect, *roles: str) -> None:
    """Send these addresses enough to keep their subscribers busy."""
    boss = connect("boss:s")
    for role in roles:
        # Each client that leaves costs its pushed messages one attempt: no test here has so many clients.
        boss.send_many([{"to": role, "type": "note", "body": body, "max_attempts": 1000} for body in range(200)])


def wait_until_alone(served: Served, line: Line, subscriptions: int = 0) -> None:
    """Wait until the only client is one with this number of subscriptions."""

    def is_alone() -> bool:
        stats = line.ask("stats")
        return (stats["connections"], stats["subscriptions"]) == (1, subscriptions)

    wait_until(is_alone, f"the others to be gone; {served.log()}")


@needs_proc
@pytest.mark.process
@pytest.mark.slow
def test_neither_descriptors_nor_threads_leak(serve: Serve) -> None:
    served = serve()
    with served.connect() as steady:
        # Keeps the shared watch of all subscriptions.
        steady.ask("subscribe", {"role": "steady:s"})
        _come_and_go(served, steady, 50)
        descriptors, threads = open_files(served.pid), threads_of(served)

        _come_and_go(served, steady, 500)

        wait_until(lambda: open_files(served.pid) <= descriptors, f"{descriptors} descriptors again")
        wait_until(lambda: threads_of(served) <= threads, f"{threads} threads again")
    assert served.log() == ""


def _come_and_go(served: Served, steady: Line, times: int) -> None:
    for number in range(times):
        with served.connect() as line:
            line.tell("subscribe", {"role": f"r{number % 7}:s", "ack": ("auto", "manual")[number % 2]}, id=1)
            line.tell("tail", id=2)
            if number % 3:
                assert "result" in line.answer()
    wait_until_alone(served, steady, subscriptions=1)


def test_a_subscription_that_ends_at_once_does_not_stop_the_others(serve: Serve, connect: Connect) -> None:
    fill(connect, "worker:s")
    served = serve()

    for _ in range(60):
        with served.connect() as brief:
            brief.tell("subscribe", {"role": "worker:s", "ack": "manual"}, id=1)
            brief.tell("unsubscribe", {"subscription": 1}, id=2)
            assert [brief.answer()["id"], brief.answer()["id"]] == [1, 2]
            assert brief.ask("ping") == "pong"
        with served.connect() as other:
            assert other.ask("ping") == "pong"

    assert served.log() == ""


def test_nothing_is_held_for_those_who_have_gone(serve: Serve, connect: Connect) -> None:
    fill(connect, "worker:s")
    served = serve()

    for number in range(100):
        with served.connect() as line:
            line.tell("subscribe", {"role": "worker:s", "ack": "manual", "window": 100}, id=1)
            if number % 3:
                line.answer()
            if number % 3 == 2:
                line.push()

    with served.connect() as line:
        wait_until_alone(served, line)
        wait_until(lambda: line.ask("stats")["unacked"] == 0, "nothing to be held")


# The descriptor of a doorbell is soon that of another connection; often enough for it to happen.
@pytest.mark.parametrize("is_unsubscribed", [True, False])
def test_a_client_that_leaves_before_the_first_push_does_not_stop_the_others(
    serve: Serve, is_unsubscribed: bool
) -> None:
    served = serve()

    for _ in range(60):
        with served.connect() as line:
            line.tell("subscribe", ["nobody:s"], id=1)
            if is_unsubscribed:
                line.tell("unsubscribe", [1], id=2)
                line.half_close()
                assert [line.read()["id"], line.read()["id"], line.read()] == [1, 2, None]
        assert served.ask("send", ["a:s", "b:s", "note"])["sender"] == "a:s"


@pytest.mark.parametrize("method", ["tail", "subscribe"])
@pytest.mark.parametrize("id", [{"id": 1}, {}])
def test_a_subscription_that_begins_when_its_client_has_ended_keeps_no_connection_open(
    serve: Serve, connect: Connect, method: str, id: dict[str, int]
) -> None:
    connect("boss:s").send("worker:s", "note")
    served = serve()

    for _ in range(20):
        with served.connect() as line:
            line.write(json.dumps([{"jsonrpc": "2.0", "method": method, "params": {"role": "worker:s"}, **id}]))
            line.half_close()
            while line.read() is not None:
                pass
    assert served.ask("stats")["connections"] == 1


@pytest.mark.parametrize("read_before", [1, 100, 500])
def test_a_half_close_loses_no_message_of_a_subscriber_that_reads_to_the_end(
    serve: Serve, connect: Connect, read_before: int
) -> None:
    fill(connect, *["worker:s"] * 10)
    with serve().connect() as line:
        line.ask("subscribe", {"role": "worker:s"})
        read = [line.push()["message"]["id"] for _ in range(read_before)]
        line.half_close()
        while (notification := line.read()) is not None:
            read.append(notification["params"]["message"]["id"])

    assert read + [message.id for message in connect("worker:s").inbox(10_000)] == list(range(1, 2001))
