"""Loops of the socket's client: with auto or manual acks, and the release of undelivered messages when a loop ends."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from raven import BusClient, Message
from raven.host.bus import HostedBus
from raven_rpc import Client
from tests.rpc.client.client_loops import Taking
from tests.rpc_server import Served
from tests.support import DEADLINE_S, Foreign, Program, leased, wait_for_waiting, wait_until, waiting

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
Spawn = Callable[..., Program]
WORKER = "worker:s"
MODES = pytest.mark.parametrize("mode", ["listen", "subscribe"])


@pytest.fixture
def worker(serve: Serve) -> Iterator[Client]:
    with Client(serve().path, WORKER) as client:
        yield client


def send_all(bus: BusClient, count: int) -> list[int]:
    return [sent.id for sent in bus.send_many([{"to": WORKER, "type": "note", "body": n} for n in range(count)])]


def take(bus: Client, mode: str, count: int, **options: Any) -> list[Message]:
    """Take `count` messages in a loop, then break."""
    if mode == "subscribe":
        return asyncio.run(take_async(bus, count, **options))
    taken = []
    for message in bus.listen(**options):
        taken.append(message)
        if len(taken) == count:
            break
    return taken


async def take_async(bus: Client, count: int, **options: Any) -> list[Message]:
    taken = []
    async for message in bus.subscribe(**options):
        taken.append(message)
        if len(taken) == count:
            break
    return taken


@MODES
def test_each_message_is_acked_just_before_it_is_delivered(worker: Client, connect: Connect, mode: str) -> None:
    boss = connect("boss:s")
    send_all(boss, 10)

    taken = take(worker, mode, 3)

    assert [(message.body, message.state, message.attempts) for message in taken] == [(n, "acked", 1) for n in range(3)]
    assert [boss.read(number).state == "acked" for number in range(1, 11)] == [True] * 3 + [False] * 7


@MODES
def test_leaving_a_loop_gives_back_at_once_what_was_pushed_ahead_and_counts_no_attempt(
    worker: Client, connect: Connect, foreign: Foreign, mode: str
) -> None:
    send_all(connect("boss:s"), 10)
    other = connect(WORKER)

    take(worker, mode, 1)

    wait_until(lambda: not leased(foreign), "the end of the leases", timeout_s=15)
    again = [(message.body, message.attempts) for message in other.listen(timeout_s=0.5)]
    assert again == [(number, 1) for number in range(1, 10)]


@MODES
def test_a_consumer_that_is_killed_loses_only_the_message_in_hand(
    serve: Serve, connect: Connect, spawn: Spawn, mode: str
) -> None:
    served = serve()
    program = spawn("rpc_consumer", served.path, WORKER, json.dumps({"mode": mode, "hold_after": 3}))
    send_all(connect("boss:s"), 20)
    assert [program.read()["body"] for _ in range(3)] == [0, 1, 2]

    program.kill()

    with Client(served.path, WORKER) as bus:
        assert [message.body for message in take(bus, mode, 17, timeout_s=15)] == list(range(3, 20))


@MODES
def test_manual_acks_leave_the_rest_to_the_next_loop(worker: Client, connect: Connect, mode: str) -> None:
    boss = connect("boss:s")
    sent = send_all(boss, 5)

    taken = take(worker, mode, 4, ack="manual")
    worker.ack(taken[1].id)
    again = take(worker, mode, 4, ack="manual")

    assert [(message.id, message.state) for message in taken] == [(number, "delivered") for number in sent[:4]]
    assert [message.id for message in again] == [sent[0], *sent[2:]]
    assert [boss.read(number).state for number in sent] == ["delivered", "acked", *["delivered"] * 3]


def test_a_manual_loop_is_pushed_no_more_than_max_per_poll_until_it_acks(
    worker: Client, connect: Connect, foreign: Foreign
) -> None:
    send_all(connect("boss:s"), 6)
    messages = worker.listen(ack="manual", max_per_poll=2, timeout_s=DEADLINE_S)

    first, second = next(messages), next(messages)
    assert leased(foreign) == 2
    worker.ack(first.id)
    third = next(messages)

    assert (leased(foreign), [second.body, third.body]) == (2, [1, 2])


@MODES
def test_timeout_s_ends_a_loop_and_takes_its_doorbell_down(worker: Client, hosted: Hosted, mode: str) -> None:
    boss, began = hosted("boss:s"), time.monotonic()

    assert take(worker, mode, 1, timeout_s=0.4) == []

    assert 0.39 <= time.monotonic() - began < DEADLINE_S
    wait_until(lambda: not waiting(boss.db_path, WORKER), "the end of the doorbell")
    boss.send(WORKER, "note", "kept")
    assert [message.body for message in boss.for_address(WORKER).inbox()] == ["kept"]


@pytest.mark.parametrize("mode", ["listen", "subscribe", "tail"])
def test_close_in_another_thread_ends_a_loop(worker: Client, connect: Connect, mode: str) -> None:
    boss, taking = connect("boss:s"), Taking(worker, mode)
    wait_for_waiting(boss.db_path, "*" if mode == "tail" else WORKER)
    sent = boss.send(WORKER, "note")
    wait_until(lambda: taking.taken, "the first message")

    worker.close()

    taking.wait_for_end()
    assert (taking.ids(), taking.error) == ([sent.id], None)


@pytest.mark.parametrize("way", ["cancel", "drop", "aclose", "cycle"])
def test_an_async_loop_that_is_left_closes_its_connection(serve: Serve, connect: Connect, db: str, way: str) -> None:
    served, boss = serve(), connect("boss:s")
    sent = send_all(boss, 3)

    async def leave() -> Message:
        messages = bus.subscribe()
        first = await anext(messages)
        if way == "cancel":
            await anext(messages), await anext(messages)
            task = asyncio.ensure_future(anext(messages))
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        elif way == "aclose":
            await messages.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(messages)
        elif way == "cycle":
            cycle: list[Any] = [messages]
            cycle.append(cycle)
            del messages, cycle
            gc.collect()
        else:
            del messages
        await asyncio.to_thread(wait_until, lambda: not waiting(db, WORKER), "the end of the doorbell")
        return first

    with Client(served.path, WORKER) as bus:
        assert asyncio.run(leave()).id == sent[0]
        left = [] if way == "cancel" else sent[1:]
        assert [message.id for message in bus.inbox()] == left
        wait_until(lambda: bus.call("stats")["connections"] == 1, "the end of its connection")


def test_an_async_loop_lets_other_tasks_run(worker: Client, connect: Connect) -> None:
    async def both() -> list[Any]:
        boss = connect("boss:s")
        taking = asyncio.create_task(take_async(worker, 5))
        for number in range(5):
            await asyncio.sleep(0.01)
            boss.send(WORKER, "note", number)
        return [message.body for message in await asyncio.wait_for(taking, DEADLINE_S)]

    assert asyncio.run(both()) == [0, 1, 2, 3, 4]


@MODES
def test_a_timeout_while_a_message_is_being_acked_does_not_lose_it(tmp_path: Any, connect: Connect, mode: str) -> None:
    """The answer to the ack comes after the deadline: an acked message must be delivered."""
    message = connect("boss:s").send(WORKER, "note").as_dict()
    path = str(tmp_path / "slow.sock")

    def answer() -> None:
        connection, _ = slow.accept()
        with connection, connection.makefile() as lines, suppress(OSError):
            for line in lines:
                request = json.loads(line)
                if request["method"] == "ack":
                    time.sleep(1.5)
                answered = {"jsonrpc": "2.0", "result": {"subscription": 1}, "id": request["id"]}
                push = {"jsonrpc": "2.0", "method": "message", "params": {"subscription": 1, "message": message}}
                connection.sendall("".join(json.dumps(value) + "\n" for value in (answered, push)).encode())

    with socket.socket(socket.AF_UNIX) as slow:
        slow.bind(path)
        slow.listen()
        threading.Thread(target=answer, daemon=True).start()
        with Client(path, WORKER) as bus:
            assert [taken.id for taken in take(bus, mode, 1, timeout_s=1)] == [message["id"]]


@MODES
def test_a_loop_goes_on_when_a_forked_child_drops_its_copy(
    serve: Serve, connect: Connect, spawn: Spawn, mode: str
) -> None:
    program, boss = spawn("rpc_forked_loop", serve().path, WORKER, mode), connect("boss:s")

    taken = []
    for _ in range(3):
        boss.send(WORKER, "note")
        taken.append(program.read())

    assert taken == [1, 2, 3]
