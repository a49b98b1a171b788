"""A loop with manual acks delivers only what it holds at that moment, whatever its server and other consumers do."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient, CorruptError, Message
from raven.host import push
from raven.model import clock
from raven.model.limits import PUSH_LEASE_S
from raven_rpc import Client
from raven_rpc.client import subscription
from tests.rpc.client.client_loops import Taking
from tests.rpc.client.relay import Relay
from tests.rpc_server import Served
from tests.support import DEADLINE_S, Foreign, Program, leased, wait_until
from tests.thread_server import ServedHere

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
WORKER = "worker:s"
MODES = pytest.mark.parametrize("mode", ["listen", "subscribe"])


class Loop:
    """A loop with manual acks, synchronous or not, that takes one message at a time."""

    def __init__(self, bus: Client, mode: str) -> None:
        self._messages: Any = getattr(bus, mode)(ack="manual", timeout_s=DEADLINE_S)
        self._runner = asyncio.Runner() if mode == "subscribe" else None

    def next(self) -> Message:
        message: Message = self._runner.run(self._next()) if self._runner else next(self._messages)
        return message

    async def _next(self) -> Message:
        message: Message = await anext(self._messages)
        return message

    def close(self) -> None:
        self._messages.close()
        if self._runner:
            self._runner.close()


@contextmanager
def loop_with_the_first_of(count: int, served: Served, boss: BusClient, foreign: Foreign, mode: str) -> Iterator[Loop]:
    """Yield a loop that holds the first message, acked, and was pushed the others."""
    boss.send_many([{"to": WORKER, "type": "note"}] * count)
    with Client(served.path, WORKER, connect_timeout_s=DEADLINE_S) as bus:
        loop = Loop(bus, mode)
        bus.ack(loop.next().id)
        wait_until(lambda: leased(foreign) == count - 1, "the pushes")
        yield loop
        loop.close()


def first_end(foreign: Foreign) -> str:
    """Return when the first of the leases ends, as the server writes it."""
    return clock.isoformat(
        clock.from_micros(foreign.value("SELECT min(ready_at) FROM deliveries WHERE lease NOT NULL"))
    )


def end_leases(foreign: Foreign) -> None:
    foreign.execute("UPDATE deliveries SET ready_at = 1 WHERE lease IS NOT NULL AND state < 2")


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@MODES
def test_a_loop_drops_what_it_was_pushed_by_a_server_that_has_ended(
    serve: Serve, connect: Connect, foreign: Foreign, mode: str, number: signal.Signals
) -> None:
    served, boss = serve(), connect("boss:s")
    with loop_with_the_first_of(20, served, boss, foreign, mode) as loop:
        served.stop(number)
        end_leases(foreign)
        assert len(connect(WORKER).claim(max=20, lease_s=600)) == 19
        served = serve()
        sent = boss.send(WORKER, "note", "after the restart")

        assert loop.next().id == sent.id


@pytest.mark.process
@MODES
def test_a_loop_drops_what_its_server_lost_while_it_was_stopped(
    serve: Serve, connect: Connect, foreign: Foreign, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(subscription, "_MOST_RECENT_US", 0)
    served, boss, other = serve(), connect("boss:s"), connect(WORKER)
    boss.send_many([{"to": WORKER, "type": "note"}] * 20)
    with Client(served.path, WORKER) as bus:
        loop = Loop(bus, mode)
        bus.ack(loop.next().id)
        wait_until(lambda: leased(foreign) == 19, "the pushes")
        os.kill(served.pid, signal.SIGSTOP)
        try:
            end_leases(foreign)
            others = {message.id for message in other.claim(max=10, lease_s=600)}
        finally:
            os.kill(served.pid, signal.SIGCONT)

        assert {loop.next().id for _ in range(9)} == set(range(2, 21)) - others
        loop.close()


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGTERM])
@MODES
def test_a_loop_drops_what_it_has_lost_before_it_reads_the_answer_that_it_holds_it(
    db: str, connect: Connect, spawn: Spawn, mode: str, number: signal.Signals
) -> None:
    boss, other, path = connect("boss:s"), connect(WORKER), f"{db}.sock"
    boss.send_many([{"to": WORKER, "type": "note"}] * 2)
    server = _server(spawn, db, path)
    with Relay(path, b'"held":') as relay:
        consumer = spawn("rpc_consumer", relay.path, WORKER, json.dumps({"mode": mode, "ack": "manual"}))
        relay.wait_for_answer()
        consumer.signal(signal.SIGSTOP)
        server.signal(number)
        taken: list[Message] = []
        wait_until(lambda: taken.extend(other.claim(lease_s=600)) or taken, "the end of a lease")
        relay.pass_on(has_ended=number == signal.SIGTERM)
        if number == signal.SIGTERM:
            server.wait()
            _server(spawn, db, path)
        server.signal(signal.SIGCONT)
        consumer.signal(signal.SIGCONT)

        assert {taken[0].id, consumer.read()["id"]} == {1, 2}


@MODES
def test_a_loop_passes_over_what_the_owner_of_the_mailbox_has_finished_or_released(
    serve: Serve, connect: Connect, foreign: Foreign, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(subscription, "_MOST_RECENT_US", 0)
    boss, owner = connect("boss:s"), connect(WORKER)
    with loop_with_the_first_of(5, serve(), boss, foreign, mode) as loop:
        owner.ack(2)
        owner.nack(3, delay_s=600)

        assert [loop.next().id for _ in range(2)] == [4, 5]


def test_a_window_has_room_again_for_messages_that_a_loop_was_told_it_does_not_hold(
    serve: Serve, connect: Connect
) -> None:
    boss, owner = connect("boss:s"), connect(WORKER)
    boss.send_many([{"to": WORKER, "type": "note"}] * 3)
    with serve().connect() as line:
        line.ask("subscribe", {"role": WORKER, "ack": "manual", "window": 2})
        assert [line.push()["message"]["id"] for _ in range(2)] == [1, 2]
        owner.ack(1)

        assert line.ask("held", {"subscription": 1})["held"] == [2]

        assert line.push()["message"]["id"] == 3
        assert line.ask("held", {"subscription": 1})["held"] == [2, 3]
        assert line.error("held", {"subscription": 2})["data"]["kind"] == "invalid_params"


def test_held_renews_leases_that_are_about_to_end_and_tells_when_the_first_of_them_ends(
    serve: Serve, connect: Connect, foreign: Foreign
) -> None:
    connect("boss:s").send_many([{"to": WORKER, "type": "note"}] * 2)
    with serve().connect() as line:
        line.ask("subscribe", {"role": WORKER, "ack": "manual"})
        assert [line.push()["message"]["id"] for _ in range(2)] == [1, 2]
        assert line.ask("held", {"subscription": 1}) == {"held": [1, 2], "leased_until": first_end(foreign)}
        end_leases(foreign)
        foreign.execute("UPDATE deliveries SET ready_at = ? WHERE id >> 20 = 2", clock.now() + 600_000_000)

        renewed = line.ask("held", {"subscription": 1})

        assert renewed == {"held": [1, 2], "leased_until": first_end(foreign)}
        assert (
            PUSH_LEASE_S - DEADLINE_S
            < datetime.fromisoformat(renewed["leased_until"]).timestamp() - time.time()
            < PUSH_LEASE_S
        )
        assert connect(WORKER).claim() == []
        for id in (1, 2):
            line.ask("ack", {"id": id})
        assert line.ask("held", {"subscription": 1}) == {"held": [], "leased_until": None}


@MODES
def test_a_loop_whose_leases_always_end_before_it_reads_an_answer_ends_in_time_without_a_message(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(push, "LEASE_S", 0.05)
    connect("boss:s").send_many([{"to": WORKER, "type": "note"}] * 3)
    with Client(serve().path, WORKER) as bus:
        taking = Taking(bus, mode, ack="manual", timeout_s=0.5)

        taking.wait_for_end()

    assert (taking.taken, taking.error) == ([], None)


def test_a_subscription_that_fails_releases_its_messages_no_earlier_than_its_connection_ends(
    serve: Callable[..., ServedHere], connect: Connect, foreign: Foreign
) -> None:
    connect("boss:s").send(WORKER, "note")
    served = serve()
    with served.connect() as line:
        line.ask("subscribe", {"role": WORKER, "ack": "manual"})
        line.push()
        (connection,) = served.server.front._connections

        served.do(lambda: connection.subscriptions.mail(1).fail(CorruptError("the bus is damaged")))

        assert line.push()["reason"] == "error"
        line.ask("last_id")
        assert leased(foreign) == 1
    wait_until(lambda: not leased(foreign), "the end of the lease")


def test_a_loop_whose_client_is_closed_meanwhile_delivers_nothing_more(serve: Serve, connect: Connect) -> None:
    connect("boss:s").send_many([{"to": WORKER, "type": "note"}] * 3)
    with Client(serve().path, WORKER) as bus:
        taking = Taking(bus, "listen", ack="manual")
        wait_until(lambda: len(taking.taken) == 3, "the messages")

    taking.wait_for_end()
    assert taking.ids() == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("seed", [1, 2])
def test_two_consumers_never_have_the_same_message_at_the_same_time_whatever_their_server_does(
    db: str, connect: Connect, spawn: Spawn, tmp_path: Path, seed: int
) -> None:
    dice, ledger, path, boss = random.Random(seed), str(tmp_path / "ledger"), f"{db}.sock", connect("boss:s")
    boss.last_id()
    server = _server(spawn, db, path)
    consumers = [spawn("ledger_consumer", path, WORKER, mode, ledger) for mode in ("listen", "subscribe")]
    for consumer in consumers:
        assert consumer.line() == "ready"
    at_the_file = connect(WORKER)
    count, until = 0, time.monotonic() + 25
    while time.monotonic() < until:
        boss.send_many([{"to": WORKER, "type": "note", "max_attempts": 1000}] * 100)
        count += 100
        # A consumer at the file takes what the server loses.
        for message in at_the_file.claim(max=20, lease_s=600):
            at_the_file.ack(message.id)
            with open(ledger, "a", encoding="ascii") as lines:
                lines.write(f"{time.monotonic_ns()} 0 acked {message.id}\n")
        time.sleep(dice.random() * 0.5)
        action = dice.choice(["stop", "kill", "end"])
        if action == "stop":
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(dice.choice([0.2, 1.5]))  # a lease is 1 s long
            os.kill(server.pid, signal.SIGCONT)
        else:
            os.kill(server.pid, signal.SIGKILL if action == "kill" else signal.SIGTERM)
            server.wait()
            server = _server(spawn, db, path)
    wait_until(lambda: boss.stats().ready == boss.stats().in_flight == 0, "the end of all work", timeout_s=30)

    steps = _steps(ledger)
    assert steps.keys() == set(range(1, count + 1))
    assert [fault for id, history in steps.items() for fault in _faults(id, history)] == []


def _server(spawn: Spawn, db: str, path: str) -> Program:
    server = spawn("short_lease_server", db, path)
    assert server.line() == "ready"
    return server


def _steps(ledger: str) -> dict[int, list[tuple[int, int, str]]]:
    """Return for each message the steps of all consumers in their order: time, process, step."""
    steps = defaultdict(list)
    for line in Path(ledger).read_text("ascii").splitlines():
        at, process, step, id = line.split()
        steps[int(id)].append((int(at), int(process), step))
    return {id: sorted(history) for id, history in steps.items()}


def _faults(id: int, history: list[tuple[int, int, str]]) -> Iterator[str]:
    """Yield what two consumers did with a message at the same time, or one did after another had finished it."""
    working: set[int] = set()
    acked_at = float("inf")
    for at, process, step in history:
        if step == "delivered":
            if working or at > acked_at:
                yield f"#{id} was delivered while {working} had it, or after its ack: {history}"
            working.add(process)
        elif step == "finished":
            working.discard(process)
        if step == "acked":
            acked_at = min(acked_at, at)
