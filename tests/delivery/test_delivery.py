"""Delivery: each message goes to one consumer, once, in order; a crash loses at most the message in flight."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from scripts.harness.deadline import Limit
from tests.support import DEADLINE_S, Foreign, Program, hold_with_a_lease, leased, read_all, wait_for_waiting

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


def ids(lines: list[Any]) -> list[int]:
    return [line["id"] for line in lines]


def assert_all_taken_once(foreign: Foreign, count: int) -> None:
    """Assert that the file is sound and that it counts one attempt for each delivery."""
    assert foreign.execute("SELECT state, attempts, count(*) FROM deliveries GROUP BY 1, 2") == [[2, 1, count]]
    assert foreign.value("PRAGMA integrity_check") == "ok"


@pytest.mark.parametrize("modes", [("listen", "listen"), ("listen", "subscribe")])
def test_two_processes_at_one_address_get_each_message_once(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign, modes: tuple[str, str]
) -> None:
    bus = connect("boss:s")
    programs = [spawn("subscriber", db, "worker:s", json.dumps({"mode": mode})) for mode in modes]
    wait_for_waiting(db, "worker:s", 2)

    for start in range(0, 2000, 100):
        bus.send_many([{"to": "worker:s", "type": "work", "body": start + number} for number in range(100)])

    lines = read_all(programs, 2000)
    taken = [ids(lines[program]) for program in programs]
    assert sorted(taken[0] + taken[1]) == [*range(1, 2001)]
    assert all(mine == sorted(mine) for mine in taken)
    assert_all_taken_once(foreign, 2000)


@pytest.mark.slow
def test_eight_producers_and_eight_consumers_at_once_lose_and_double_nothing(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign
) -> None:
    connect("boss:s")
    addresses = [f"worker-{number}:s" for number in range(4)]
    consumers = [spawn("subscriber", db, addresses[number % 4], json.dumps({"mode": "listen"})) for number in range(8)]
    producers = [spawn("producer", db, f"boss-{number}:s", 1000, *addresses) for number in range(8)]
    for address in addresses:
        wait_for_waiting(db, address, 2)
    for producer in producers:
        producer.read()

    for producer in producers:
        producer.tell()
    lines = read_all(consumers, 8000, timeout_s=3 * DEADLINE_S)
    for producer in producers:
        producer.read()

    taken = sorted((line["sender"], line["body"]) for mine in lines.values() for line in mine)
    assert taken == sorted((f"boss-{number}:s", place) for number in range(8) for place in range(1000))
    for mine in lines.values():
        for number in range(8):
            bodies = [line["body"] for line in mine if line["sender"] == f"boss-{number}:s"]
            assert bodies == sorted(bodies)
    assert_all_taken_once(foreign, 8000)


@pytest.mark.slow
def test_a_killed_subscriber_loses_only_the_message_in_flight(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign
) -> None:
    connect("boss:s").send_many([{"to": "worker:s", "type": "work"}] * 200)
    victim = spawn("subscriber", db, "worker:s", '{"hold_after": 20}')
    handed_out = ids(hold_with_a_lease(victim, foreign, 20))
    fetched = leased(foreign)

    victim.kill()
    heir = spawn("subscriber", db, "worker:s", '{"poll_interval_s": 60}')
    rest = ids([heir.read() for _ in range(200 - len(handed_out))])

    # The victim's prefetched messages come last, when their lease of 5 s has ended.
    assert handed_out + sorted(rest) == [*range(1, 201)]
    assert rest[-fetched:] == [*range(len(handed_out) + 1, len(handed_out) + 1 + fetched)]
    assert_all_taken_once(foreign, 200)


@pytest.mark.slow
def test_a_subscriber_killed_at_any_moment_costs_at_most_one_message(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign
) -> None:
    connect("boss:s").send_many([{"to": "worker:s", "type": "work"}] * 3000)
    victim = spawn("subscriber", db, "worker:s")
    taken = ids([victim.read() for _ in range(100)])

    victim.kill()
    taken += ids(victim.read_rest())
    assert len(taken) < 3000, "the victim was too quick to be killed in mid-stream"
    heir = spawn("subscriber", db, "worker:s", '{"poll_interval_s": 60, "timeout_s": 6.5}')
    taken += ids(heir.read_rest())

    assert len(taken) == len(set(taken))
    assert len(taken) >= 2999
    assert set(taken) <= {*range(1, 3001)}
    assert_all_taken_once(foreign, 3000)


@pytest.mark.parametrize("clients", [1, 2])
def test_two_asynchronous_subscribers_in_one_process_share_the_messages(connect: Connect, clients: int) -> None:
    buses = [connect("worker:s") for _ in range(clients)]
    taken: list[list[int]] = [[], []]

    async def work(mine: list[int]) -> None:
        async for message in buses[len(mine) % clients].subscribe(poll_interval_s=60):
            mine.append(message.body)
            await asyncio.sleep(0)

    async def run() -> None:
        tasks = [asyncio.create_task(work(mine)) for mine in taken]
        for number in range(400):
            buses[0].send("worker:s", "work", number)
            await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_S):
            while sum(map(len, taken)) < 400:
                await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()

    asyncio.run(run())

    assert sorted(taken[0] + taken[1]) == [*range(400)]
    assert all(mine == sorted(mine) for mine in taken)


def test_the_event_loop_goes_on_while_another_writer_holds_the_lock(db: str, connect: Connect, spawn: Spawn) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "work", "x")
    holder = spawn("lock_holder", db)
    holder.read()

    async def run() -> Any:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(anext(aiter(bus.subscribe())))  # type: ignore[arg-type]
        longest = 0.0
        for _ in range(100):
            began = loop.time()
            await asyncio.sleep(0.002)
            longest = max(longest, loop.time() - began)
        assert not task.done()
        holder.ask(None)
        message = await asyncio.wait_for(task, DEADLINE_S)
        return longest, message.body

    longest, body = asyncio.run(run())

    assert body == "x"
    assert longest < Limit(1)  # and not the 5 s for which a lock is waited for


def test_a_subscriber_takes_nothing_while_its_body_is_at_work_on_one(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "work"}] * 3)
    loop = iter(bus.listen(max_per_poll=1))

    next(loop)

    assert leased(foreign) == 0
    assert len(connect("worker:s").inbox()) == 2


def test_a_consumed_message_has_its_ack_time(connect: Connect) -> None:
    bus = connect("worker:s")
    sent = bus.send("worker:s", "work")

    message = next(iter(bus.listen()))

    assert (message.state, message.attempts) == ("acked", 1)
    assert message.acked_at == message.delivered_at
    assert bus.read(sent.id) == message
