"""Subscriptions on the socket: recipients, order, and the release of messages when a client leaves."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from raven import BusClient
from raven.host import service
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells
from scripts.harness.deadline import Limit
from tests.rpc_server import Line, Served
from tests.support import Foreign, Program, leased, wait_for_waiting, wait_until, waiting

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
WORKER = "worker:s"
# Well before the lease of 30 s ends by itself.
SOON_S = Limit(15.0)


def subscribe(line: Line, role: str = WORKER, **params: Any) -> int:
    number = line.ask("subscribe", {"role": role, **params})["subscription"]
    assert isinstance(number, int)
    return number


def bodies(line: Line, count: int) -> list[Any]:
    return [line.push()["message"]["body"] for _ in range(count)]


def send_all(bus: BusClient, contents: Iterable[Any], to: str = WORKER) -> list[int]:
    return [sent.id for sent in bus.send_many([{"to": to, "type": "note", "body": body} for body in contents])]


def test_subscribe_answers_before_its_first_push(serve: Serve, connect: Connect) -> None:
    send_all(connect("boss:s"), range(5))
    with serve().connect() as line:
        line.tell("subscribe", {"role": WORKER}, id="x")

        shapes = [line.read() for _ in range(6)]

        assert shapes[0] == {"jsonrpc": "2.0", "result": {"subscription": 1}, "id": "x"}
        assert [push["params"]["message"]["body"] for push in shapes[1:]] == [0, 1, 2, 3, 4]
        assert {(push["jsonrpc"], push["method"], "id" in push) for push in shapes[1:]} == {("2.0", "message", False)}


def test_what_is_pushed_with_auto_acks_is_acked(serve: Serve, connect: Connect) -> None:
    bus = connect("boss:s")
    sent = bus.send(WORKER, "note", {"n": 1}, tags=["a"], correlation_id="c", urgency="fyi", expires_in_s=60)
    with serve().connect() as line:
        subscribe(line)

        message = line.push()["message"]

        assert message == connect(WORKER, register=False).read(sent.id).as_dict()
        assert (message["state"], message["attempts"], message["recipient"]) == ("acked", 1, WORKER)


def test_what_is_pushed_with_manual_acks_is_leased_until_it_is_acked(
    serve: Serve, connect: Connect, foreign: Foreign
) -> None:
    sent = connect("boss:s").send(WORKER, "note")
    with serve().connect() as line:
        subscribe(line, ack="manual")

        message = line.push()["message"]
        assert (message["state"], message["attempts"], leased(foreign)) == ("delivered", 1, 1)
        assert foreign.execute("SELECT state, attempts FROM pending") == [["leased", 1]]

        assert line.ask("ack", {"id": sent.id, "role": WORKER}) == {"acked": [sent.id]}
        assert (leased(foreign), foreign.execute("SELECT * FROM pending")) == (0, [])


@pytest.mark.parametrize("ack", ["auto", "manual"])
def test_messages_are_pushed_by_urgency_then_id(serve: Serve, connect: Connect, ack: str) -> None:
    bus = connect("boss:s")
    for number, urgency in enumerate(["fyi", "prompt", "blocking"] * 2):
        bus.send(WORKER, "note", f"{urgency} {number}", urgency=urgency)
    with serve().connect() as line:
        subscribe(line, ack=ack)

        assert bodies(line, 6) == ["blocking 2", "blocking 5", "prompt 1", "prompt 4", "fyi 0", "fyi 3"]


def test_several_subscriptions_on_one_connection_each_get_their_own(serve: Serve, connect: Connect) -> None:
    bus = connect("boss:s")
    with serve().connect() as line:
        numbers = {subscribe(line, f"worker{n}:s", ack="auto" if n % 2 else "manual"): f"worker{n}:s" for n in range(5)}
        for n in range(5):
            send_all(bus, [n, n], to=f"worker{n}:s")

        pushes = [line.push() for _ in range(10)]

        assert len(numbers) == 5
        assert all(push["message"]["recipient"] == numbers[push["subscription"]] for push in pushes)
        assert sorted(push["message"]["body"] for push in pushes) == sorted([*range(5), *range(5)])


@pytest.mark.parametrize("ack", ["auto", "manual"])
def test_subscribers_of_one_address_never_get_the_same_message(serve: Serve, connect: Connect, ack: str) -> None:
    bus, served = connect("boss:s"), serve()
    lines = [served.connect() for _ in range(3)]
    for line in lines:
        subscribe(line, ack=ack, window=7)
        subscribe(line, ack=ack, window=3)
    sent = send_all(bus, range(100)) + [bus.send(WORKER, "note").id for _ in range(100)]

    taken: list[int] = []
    while len(taken) < len(sent):
        for line in lines:
            while not line.is_silent(0.01):
                message_id = line.push()["message"]["id"]
                taken.append(message_id)
                if ack == "manual":
                    line.ask("ack", {"id": message_id, "role": WORKER})

    assert sorted(taken) == sent
    assert all(line.is_silent(0.1) for line in lines)
    for line in lines:
        line.close()


def test_unsubscribe_gives_back_at_once_and_ends_only_that_one(serve: Serve, connect: Connect) -> None:
    bus, served = connect("boss:s"), serve()
    with served.connect() as leaver, served.connect() as other:
        number, stays = subscribe(leaver, ack="manual"), subscribe(leaver, "stays:s")
        send_all(bus, "ab")
        assert bodies(leaver, 2) == ["a", "b"]
        subscribe(other, ack="manual")
        assert other.is_silent(0.2)

        assert leaver.ask("unsubscribe", {"subscription": number}) == {"unsubscribed": number}

        again = [other.push(SOON_S)["message"] for _ in range(2)]
        assert [(message["body"], message["attempts"]) for message in again] == [("a", 2), ("b", 2)]
        send_all(bus, "c", to="stays:s")
        assert leaver.push()["subscription"] == stays
        assert "not one of this connection" in leaver.error("unsubscribe", {"subscription": number})["message"]
        assert "not one of this connection" in other.error("unsubscribe", {"subscription": stays})["message"]


def test_a_delayed_message_is_pushed_in_time_without_a_ring(
    serve: Serve, connect: Connect, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_TICK_S", 3600)
    with serve().connect() as line:
        subscribe(line)
        sent = connect("boss:s").send(WORKER, "note", "later", delay_s=0.3)
        foreign.send(WORKER, "even later", delay_s=0.6)

        first = line.push()["message"]
        waited_s = time.time() - sent.created_at.timestamp()

        assert (first["body"], waited_s >= 0.29) == ("later", True)
        assert line.push()["message"]["body"] == "even later"


def test_a_message_whose_time_ran_out_is_not_pushed(serve: Serve, connect: Connect) -> None:
    bus = connect("boss:s")
    with serve().connect() as line:
        subscribe(line, ack="manual", window=1)
        first = bus.send(WORKER, "note", "first")
        assert line.push()["message"]["body"] == "first"
        late = bus.send(WORKER, "note", "late", expires_in_s=0.2)
        bus.send(WORKER, "note", "in time", expires_in_s=60)
        wait_until(lambda: bus.read(late.id).state == "expired", "the end of its time")

        line.ask("ack", {"id": first.id, "role": WORKER})

        assert line.push()["message"]["body"] == "in time"
        assert bus.read(late.id).state == "expired"


def test_a_connection_that_closes_gives_back_what_it_had_not_acked(serve: Serve, connect: Connect, db: str) -> None:
    bus, served = connect("boss:s"), serve()
    with served.connect() as leaver, served.connect() as other:
        subscribe(leaver, ack="manual")
        ids = send_all(bus, "abc")
        assert bodies(leaver, 3) == ["a", "b", "c"]
        leaver.ask("ack", {"id": ids[0], "role": WORKER})
        subscribe(other, ack="manual")
        assert other.is_silent(0.2)

        leaver.close()

        again = [other.push(SOON_S)["message"] for _ in range(2)]
        assert [(message["body"], message["attempts"]) for message in again] == [("b", 2), ("c", 2)]
        wait_until(lambda: waiting(db, WORKER) == 1, "one doorbell less")


@pytest.mark.process
def test_the_leases_of_a_server_that_was_killed_end_by_themselves(
    serve: Serve, connect: Connect, foreign: Foreign
) -> None:
    bus, served = connect("boss:s"), serve()
    with served.connect() as line:
        subscribe(line, ack="manual")
        send_all(bus, "ab")
        assert bodies(line, 2) == ["a", "b"]

        served.kill()

        assert line.read() is None
    rows = foreign.execute("SELECT lease IS NOT NULL, (ready_at / 1e6) - strftime('%s', 'now') FROM deliveries")
    assert [(held, 0 < left_s <= 31) for held, left_s in rows] == [(1, True)] * 2
    assert foreign.execute("SELECT state, attempts FROM pending") == [["leased", 1]] * 2
    with serve().connect() as line:  # a new server, at the socket that the dead one left behind
        subscribe(line, ack="manual")
        send_all(bus, "c")
        assert bodies(line, 1) == ["c"]
        # As after 30 s.
        foreign.execute("UPDATE deliveries SET ready_at = 1 WHERE lease IS NOT NULL AND attempts = 1 AND id >> 20 < 3")
        again = [line.push()["message"] for _ in range(2)]
        assert [(message["body"], message["attempts"]) for message in again] == [("a", 2), ("b", 2)]


@pytest.mark.parametrize(("method", "doorbell"), [("subscribe", WORKER), ("tail", ALL_TRAFFIC)])
def test_doorbells_that_were_deleted_are_hung_again_and_nothing_is_lost(
    serve: Serve, connect: Connect, db: str, monkeypatch: pytest.MonkeyPatch, method: str, doorbell: str
) -> None:
    monkeypatch.setattr(service, "_TICK_S", 0.1)
    bus = connect("boss:s")
    with serve().connect() as line:
        line.ask(method, {"role": WORKER})
        wait_for_waiting(db, doorbell)

        shutil.rmtree(Doorbells(db).folder, ignore_errors=True)
        bus.send(WORKER, "note", "unheard")

        assert line.push()["message"]["body"] == "unheard"
        wait_for_waiting(db, doorbell)
        bus.send(WORKER, "note", "heard")
        assert line.push()["message"]["body"] == "heard"
