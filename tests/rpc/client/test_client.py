"""The client of the socket gives what `BusClient` gives: the same steps on two buses come to the same."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from raven import BusClient, ClosedError
from raven_rpc import Client
from tests.both_ways import A_TIME, Open, both_ways, same
from tests.serving import Served
from tests.support import DEADLINE_S, Program, wait_for_waiting

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
EVERYTHING: dict[str, Any] = {
    "to": ["worker:s", "other:s"], "type": "plan", "body": {"a": [1, 2.5, None, True, "\u2028 \U0001f426"]},
    "urgency": "blocking", "tags": ("x", "y"), "correlation_id": 7, "reply_to": 1, "task_id": "t",
    "expires_in_s": 60, "delay_s": 0.001, "dedup_key": "k",
    "report": "undelivered", "max_attempts": 3,
}  # fmt: skip


class Plan(BaseModel):
    step: int
    when: datetime


@pytest.fixture
def ways(serve: Serve, tmp_path: Path) -> Iterator[list[Open]]:
    """Return two ways to make clients by address: of one bus directly, of another through a helper."""
    with both_ways(str(tmp_path / "direct.db"), serve().path) as found:
        yield found


def test_send_gives_the_same_with_every_parameter_and_with_none(ways: list[Open]) -> None:
    def steps(way: Open) -> list[Any]:
        bus = way("boss:s")
        bus.register("worker:s", "other:s")
        bodies = [None, {}, [], "", 0, False, "text", [[1]], 10**30, -0.5, {"": {"x": ""}}]
        plain = [bus.send("worker:s", "note", body) for body in bodies]
        full = [bus.send(**EVERYTHING) for _ in range(2)]
        plan = bus.send("*:s", "plan", Plan(step=1, when=A_TIME))
        return [bus.address, plain, full, plan, bus.send(("worker:s",), "note"), bus.recipients(plan.id), bus.last_id()]

    _, plain, full, plan, *_ = same(ways, steps)
    assert (plain[0].id, full[0].id, full[1], plan.body) == (
        1,
        12,
        full[0],
        {"step": 1, "when": "2000-01-01T00:00:00Z"},
    )


def test_send_many_gives_the_same(ways: list[Open]) -> None:
    def steps(way: Open) -> Any:
        few = [
            EVERYTHING,
            {"to": "worker:s", "type": "note"},
            {"to": "b:s", "type": "x", "body": Plan(step=1, when=A_TIME)},
        ]
        return [way("boss:s").send_many(few), way("boss:s").send_many([]), way("boss:s").send_many(tuple(few))]

    assert [len(sent) for sent in same(ways, steps)] == [3, 0, 3]


def test_history_peers_and_register_give_the_same(ways: list[Open]) -> None:
    def steps(way: Open) -> list[Any]:
        bus = way("boss:s")
        empty = [bus.last_id(), bus.history("c"), bus.register("worker:s", "worker:t"), bus.register("worker:s")]
        for number in range(4):
            bus.send("worker:s", "note", number, correlation_id="c", task_id=number % 2)
        bus.send("unknown:s", "note")
        way("worker:t").inbox()
        views = [bus.history("c"), bus.history("c", max=2), bus.history(task_id=1), bus.history("c", role="worker:s")]
        return [empty, views, bus.history("c", role="worker:t"), bus.peers(), bus.peers("s"), bus.peers(session="none")]

    empty, views, nothing, peers, *_ = same(ways, steps)
    assert (empty, [len(view) for view in views], nothing) == ([0, [], None, None], [4, 2, 2, 4], [])
    pending = {peer.address: peer.pending for peer in peers}
    assert pending == {"boss:s": 0, "unknown:s": 1, "worker:s": 4, "worker:t": 0}


def test_tail_listen_and_subscribe_give_the_same(ways: list[Open]) -> None:
    async def take(bus: Any, **options: Any) -> list[Any]:
        return [message async for message in bus.subscribe(**options)]

    def steps(way: Open) -> list[Any]:
        boss, worker = way("boss:s"), way("worker:s")
        boss.send_many([{"to": "worker:s", "type": "note", "body": n} for n in range(8)])
        boss.send("other:s", "note")
        tails = [list(boss.tail(**options, follow=False)) for options in ({}, {"from_id": 4}, {"role": "other:s"})]
        followed = [message for message, _ in zip(boss.tail(2), range(3), strict=False)]
        listened = [message for message, _ in zip(worker.listen(max_per_poll=2), range(3), strict=False)]
        # Through the helper a message that was pushed ahead counts an attempt.
        rest = [replace(message, attempts=1) for message in worker.listen(timeout_s=0.5)]
        boss.send("worker:s", "note", "last")
        return [tails, followed, listened, rest, asyncio.run(take(worker, timeout_s=0.5)), worker.inbox()]

    tails, followed, listened, rest, last, left = same(ways, steps)
    assert [len(view) for view in (*tails, followed)] == [9, 6, 1, 3]
    # What `zip` took off the iterator and threw away was the one in hand.
    assert [message.body for message in listened + rest + last] == [0, 1, 2, 4, 5, 6, 7, "last"]
    assert {(message.state, message.attempts) for message in listened + last} == {("acked", 1)}
    assert left == []


def test_a_client_without_an_address_looks_on_as_an_observer(serve: Serve, connect: Connect) -> None:
    boss = connect("boss:s")
    sent = boss.send(["worker:s", "other:s"], "note", correlation_id="c")
    with Client(serve().path) as bus:
        assert bus.address is None
        whole = boss.read(sent.id)
        assert (bus.read(sent.id), bus.history("c"), list(bus.tail(follow=False))) == (whole, [whole], [whole])
        assert (bus.peers(), bus.last_id()) == (boss.peers(), sent.id)


def test_a_client_of_a_bound_socket_has_its_address(serve: Serve, connect: Connect) -> None:
    connect("boss:s").send("worker:s", "note", "hello")
    with Client(serve("--as", "worker:s").path) as bus:
        assert (bus.address, [message.body for message in bus.inbox()]) == ("worker:s", ["hello"])
        assert bus.send("boss:s", "done").sender == "worker:s"
        assert [message.state for message in bus.listen(timeout_s=0.5)] == ["acked"]


def test_many_threads_share_one_client_and_none_gets_the_answer_of_another(serve: Serve) -> None:
    wrong: list[Any] = []
    with Client(serve().path, "boss:s") as bus:

        def work(name: int) -> None:
            for number in range(50):
                sent = bus.send(f"worker{name}:s", "note", [name, number])
                if (sent.body, bus.read(sent.id).body) != ([name, number], [name, number]):
                    wrong.append(sent)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)

        assert (wrong, bus.last_id(), bus.call("stats")["connections"]) == ([], 400, 1)


def test_a_second_call_goes_over_the_same_connection_and_waits_for_nothing(serve: Serve) -> None:
    with Client(serve().path, "boss:s", timeout_s=8) as bus:
        began = time.monotonic()

        answers = [bus.call("ping"), bus.call("stats")["connections"], bus.call("stats")["requests"]]

        assert time.monotonic() - began < 8
        assert answers == ["pong", 1, 3]


def test_a_forked_child_uses_a_connection_of_its_own(serve: Serve, spawn: Spawn) -> None:
    served = serve()
    program = spawn("rpc_forker", served.path)

    assert program.read() == {"lost": [], "children": 20}
    assert program.wait() == 0


def test_close_ends_calls_for_good_and_twice_is_allowed(serve: Serve) -> None:
    bus = Client(serve().path, "boss:s")
    bus.send("worker:s", "note")

    bus.close()
    bus.close()

    for call in (bus.last_id, bus.inbox, lambda: bus.send("worker:s", "note"), lambda: bus.call("ping")):
        with pytest.raises(ClosedError, match="is closed: make a new one"):
            call()
    assert (list(bus.listen()), list(bus.tail())) == ([], [])


def test_close_in_one_thread_ends_a_call_that_another_waits_for(tmp_path: Path) -> None:
    path, errors = str(tmp_path / "deaf.sock"), []
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(path)
        deaf.listen()
        bus = Client(path, "boss:s", timeout_s=600)

        def ask() -> None:
            try:
                bus.last_id()
            except Exception as error:
                errors.append(type(error))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        connection, _ = deaf.accept()
        with connection:
            assert json.loads(connection.recv(1000))["method"] == "last_id"
            closing = threading.Thread(target=bus.close, daemon=True)
            closing.start()
            closing.join(DEADLINE_S)

            assert not closing.is_alive()
            asking.join(DEADLINE_S)
            assert errors == [ClosedError]


@pytest.mark.process
def test_a_client_of_a_relative_path_works_and_leaves_no_descriptor(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    before = len(os.listdir("/dev/fd"))
    with Client(os.path.relpath(served.path), "boss:s") as bus:
        bus.send("boss:s", "note")
        assert next(iter(bus.listen())).type == "note"
        wait_for_waiting(served.db, "boss:s", 0)
    assert len(os.listdir("/dev/fd")) == before
