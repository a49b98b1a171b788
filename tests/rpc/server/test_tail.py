"""Tails on the socket: the server pushes the log of the bus from an id on, and consumes no message."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

from raven import BusClient, BusObserver
from raven.wake.doorbell import ALL_TRAFFIC
from tests.rpc_server import Line, Served
from tests.support import DEADLINE_S, Foreign, wait_for_waiting, wait_until, waiting

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]


def send_all(bus: BusClient, *to: str) -> list[int]:
    return [sent.id for sent in bus.send_many([{"to": role, "type": "note"} for role in to])]


def ids_to_end(line: Line) -> list[int]:
    """Return the ids that are pushed before the tail ends."""
    ids = []
    while (push := line.push())["method"] == "message":
        ids.append(push["message"]["id"])
    assert push == {"method": "end", "subscription": push["subscription"], "reason": "done"}
    return ids


def test_a_tail_without_following_pushes_all_from_an_id_and_ends_and_its_number_is_free(
    serve: Serve, connect: Connect
) -> None:
    sent = send_all(connect("boss:s"), *["worker:s"] * 200)
    with serve().connect() as line:
        pages = []
        for from_id in (None, 0, 1, 150, 200, 201, 10**12):
            line.ask("tail", {"follow": False, **({} if from_id is None else {"from_id": from_id})})
            pages.append(ids_to_end(line))

        assert pages == [sent, sent, sent, sent[149:], sent[199:], [], []]
        assert line.ask("stats")["subscriptions"] == 0
        assert "not one of this connection" in line.error("unsubscribe", {"subscription": 1})["message"]


def test_a_tail_follows_with_what_is_sent_by_anyone(serve: Serve, connect: Connect, foreign: Foreign, db: str) -> None:
    bus, served = connect("boss:s"), serve()
    first = bus.send("worker:s", "note", "old")
    with served.connect() as line:
        line.ask("tail", {})
        assert line.push()["message"]["id"] == first.id

        bus.send("worker:s", "note", "direct")
        assert line.push()["message"]["body"] == "direct"
        served.ask("send", {"from": "a:s", "to": ["b:s", "c:s"], "type": "note", "body": "socket"})
        push = line.push()["message"]
        assert (push["body"], push["to"], push["recipient"]) == ("socket", ["b:s", "c:s"], "b:s, c:s")
        foreign.send("worker:s", "abroad")
        assert line.push()["message"]["body"] == "abroad"
        assert line.is_silent(0.2)


def test_a_tail_consumes_nothing_and_registers_no_address(serve: Serve, connect: Connect) -> None:
    bus = connect("boss:s")
    sent = bus.send("worker:s", "note")
    before = {peer.address: peer.pending for peer in bus.peers()}
    with serve().connect() as line:
        line.ask("tail", {"role": "worker:s"})

        assert line.push()["message"]["state"] == "sent"

    assert {peer.address: peer.pending for peer in bus.peers()} == before
    assert (bus.read(sent.id).state, bus.read(sent.id).attempts) == ("sent", 0)


def test_two_tails_and_a_subscription_on_one_connection_each_get_all(serve: Serve, connect: Connect) -> None:
    bus = connect("boss:s")
    with serve().connect() as line:
        numbers = [
            line.ask("tail", {})["subscription"],
            line.ask("tail", {"from_id": 2})["subscription"],
            line.ask("subscribe", {"role": "worker:s"})["subscription"],
        ]
        sent = [bus.send("worker:s", "note").id for _ in range(30)]

        pushes = [line.push() for _ in range(89)]

        taken = [[push["message"]["id"] for push in pushes if push["subscription"] == number] for number in numbers]
        assert taken == [sent, sent[1:], sent]
        assert line.is_silent(0.2)


def test_unsubscribe_ends_a_tail_and_takes_its_doorbell_down(serve: Serve, connect: Connect, db: str) -> None:
    bus = connect("boss:s")
    with serve().connect() as line:
        number = line.ask("tail", {})["subscription"]
        wait_for_waiting(db, ALL_TRAFFIC)

        line.ask("unsubscribe", {"subscription": number})

        wait_until(lambda: not waiting(db, ALL_TRAFFIC), "the end of the doorbell")
        bus.send("worker:s", "note")
        assert line.is_silent(0.3)


def test_a_client_that_reads_late_gets_the_whole_log_without_gap_or_repeat(serve: Serve, connect: Connect) -> None:
    bus, served = connect("boss:s"), serve()
    with served.connect() as line:
        line.ask("tail", {})
        sent = [m.id for m in bus.send_many([{"to": "worker:s", "type": "note", "body": "x" * 2000}] * 3000)]
        assert not line.is_silent(DEADLINE_S)
        sent += [bus.send("worker:s", "note").id for _ in range(50)]
        # A page at a time: no page is fetched before the client has read the last.
        assert served.ask("stats")["pushed"] < 500

        assert [line.push()["message"]["id"] for _ in sent] == sent
        assert line.is_silent(0.2)


def test_what_is_pushed_is_what_raven_tail_prints(serve: Serve, connect: Connect, db: str) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    sent = boss.send(
        ["worker:s", "other:s"], "plan", {"a": [1, None, "\u2028"]}, urgency="blocking", tags=["x", "y"],
        correlation_id=7, reply_to=3, task_id="t", expires_in_s=60, dedup_key="k",
    )  # fmt: skip
    boss.send("*:s", "note", "to all")
    boss.send("worker:s", "note", delay_s=60)
    worker.ack(sent.id)
    command = [sys.executable, "-m", "raven", "tail", "--db", db, "--json", "--no-follow"]
    printed = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=True).stdout.splitlines()

    with serve().connect() as line:
        line.ask("tail", {"follow": False})
        pushed = [line.push()["message"] for _ in range(3)]

    assert pushed == [json.loads(text) for text in printed]
    with BusObserver(db) as observer:
        assert pushed == [message.as_dict() for message in observer.tail(follow=False)]
