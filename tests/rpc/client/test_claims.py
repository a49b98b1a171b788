"""Claims through the client of the socket: leases that it remembers, and what comes of the dead, as directly."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient, DatabaseError, LeaseLostError, Message, RavenError
from raven.host.bus import HostedBus
from raven_rpc import Client
from tests.both_ways import Open, both_ways, same
from tests.serving import Served
from tests.support import DEADLINE_S, wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
WORKER = "worker:s"
SHORT_S = 0.05


@pytest.fixture
def ways(serve: Serve, tmp_path: Path) -> Iterator[list[Open]]:
    with both_ways(str(tmp_path / "direct.db"), serve().path) as found:
        yield found


@pytest.fixture
def worker(serve: Serve) -> Iterator[Client]:
    with Client(serve().path, WORKER) as client:
        yield client


def claim_one(bus: Any, **options: Any) -> Message:
    """Claim the next message as soon as it is ready."""
    found: list[Message] = wait_until(lambda: bus.claim(**options), "a message that is ready")
    return found[0]


def test_the_dead_give_the_same(ways: list[Open]) -> None:
    def steps(way: Open) -> list[Any]:
        boss, worker = way("boss:s"), way(WORKER)
        boss.send([WORKER, "other:s"], "note", max_attempts=1, report="undelivered")
        for number in range(3):
            boss.send(WORKER, "note", number, max_attempts=2)
        states = [worker.nack(message.id, reason="no") for _ in range(2) for message in worker.claim(9)]
        dead = [boss.dead(), boss.dead(WORKER, max=2), boss.dead("other:s"), boss.dead(role="nobody:s")]
        revived = [boss.requeue(1), boss.requeue(2, 3, role=WORKER), boss.requeue(all=True, role="other:s")]
        purged = [boss.purge_dead("other:s"), boss.purge_dead(), boss.dead(), boss.requeue(all=True)]
        return [states, dead, revived, purged, worker.claim(9), boss.inbox()]

    states, dead, revived, purged, ready, reports = same(ways, steps)
    assert states == ["dead", *["delivered"] * 3, *["dead"] * 3]
    assert [[message.id for message in view] for view in dead] == [[1, 2, 3, 4], [1, 2], [], []]
    assert {message.reason for message in dead[0]} == {"no"}
    assert (revived, purged) == ([1, 2, 0], [0, 1, [], 0])
    assert [(message.id, message.attempts) for message in ready] == [(1, 1), (2, 1), (3, 1)]
    assert [(message.type, message.reply_to, message.body["reason"]) for message in reports] == [
        ("raven.undelivered", 1, "no")
    ]


def test_prune_thread_and_receipts_give_the_same(ways: list[Open]) -> None:
    def steps(way: Open) -> list[Any]:
        boss, worker, told = way("boss:s"), way(WORKER), []
        first = boss.send([WORKER, "other:s"], "plan", "x" * 100)
        answer = worker.reply(first.id, "fine")
        boss.reply(answer, "thanks", tags=["a"], correlation_id=7)
        threads = [boss.thread(id) for id in (1, 2, 3)] + [boss.thread(1, role="other:s"), boss.thread(1, max=1)]
        worker.ack(1)
        receipts = [boss.receipts(1), boss.receipts(2)]
        pruned = [boss.prune(0, dry_run=True)[:2], boss.prune(3600)[:2]]
        way("other:s").ack(1)
        pruned += [boss.prune(0, dry_run=True)[:2], boss.prune(0, progress=told.append)[:2], boss.prune(0)[:2]]
        return [threads, receipts, pruned, told[-1][:2], worker.inbox()]

    threads, receipts, pruned, told, _ = same(ways, steps)
    assert [[message.id for message in view] for view in threads] == [[1, 2, 3]] * 3 + [[1], [1]]
    assert [[receipt.state for receipt in view] for view in receipts] == [["acked", "sent"], ["sent"]]
    assert (pruned, told) == ([[0, 0], [0, 0], [1, 102], [1, 102], [0, 0]], [1, 102])


def test_stats_are_those_of_the_bus(worker: Client, connect: Connect) -> None:
    boss = connect("boss:s")
    boss.send_many([{"to": WORKER, "type": "note"}] * 3)
    worker.ack(worker.claim()[0].id)

    for full in (True, False):
        direct, remote = boss.stats(full=full), worker.stats(full=full)
        assert type(remote) is type(direct)
        assert (remote.messages, remote.deliveries, remote.attempts) == (
            direct.messages,
            direct.deliveries,
            direct.attempts,
        )
        assert [one.address for one in remote.addresses] == [one.address for one in direct.addresses]
    assert [(one.address, one.ready) for one in worker.stats().addresses if one.ready] == [(WORKER, 2)]


def test_stats_of_a_bus_that_is_gone_are_an_error_and_those_of_the_helper_are_not(
    worker: Client, db: str, connect: Connect
) -> None:
    connect("boss:s").send(WORKER, "note")
    os.rename(db, f"{db}.away")

    with pytest.raises(DatabaseError, match="the helper cannot read the bus now: run `raven doctor`"):
        worker.stats()

    assert worker.call("stats")["connections"] == 1


def test_a_send_tells_who_waits_and_whether_it_was_sent_before(worker: Client, hosted: Hosted) -> None:
    loop = hosted(WORKER).subscription()
    try:
        sent = [worker.send([WORKER, "other:s"], "note", dedup_key="k") for _ in range(2)]
        many = worker.send_many([{"to": WORKER, "type": "note"}, {"to": "x:s", "type": "note", "dedup_key": "k"}])
    finally:
        loop.close()

    assert [(message.waiting, message.duplicate) for message in sent + many] == [
        ({WORKER: True, "other:s": False}, False),
        ({WORKER: True, "other:s": False}, True),
        ({WORKER: True}, False),
        ({WORKER: True, "other:s": False}, True),
    ]


def test_a_lease_holds_over_another_connection_too(serve: Serve, connect: Connect) -> None:
    served, sent = serve(), connect("boss:s").send(WORKER, "note")
    with Client(served.path, WORKER, patience_s=DEADLINE_S) as bus:
        bus.claim(lease_s=SHORT_S)
        served.stop()
        claim_one(connect(WORKER), lease_s=600)
        serve()

        with pytest.raises(LeaseLostError):
            bus.ack(sent.id)


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_a_late_ack_in_a_manual_loop_is_refused_where_another_has_the_message(
    serve: Serve, connect: Connect, mode: str
) -> None:
    served, sent = serve(), connect("boss:s").send(WORKER, "note")

    def taken_over(bus: Client, message: Message) -> RavenError:
        assert (message.id, message.lease is not None) == (sent.id, True)
        served.stop()  # which gives back what was not acked
        other = connect(WORKER)
        claim_one(other, lease_s=600)
        serve()
        with pytest.raises(LeaseLostError) as caught:
            bus.ack(message.id)
        return caught.value

    async def subscribe(bus: Client) -> RavenError:
        messages = bus.subscribe(ack="manual")
        return taken_over(bus, await anext(messages))

    with Client(served.path, WORKER, patience_s=DEADLINE_S) as bus:
        messages = bus.listen(ack="manual")
        error = asyncio.run(subscribe(bus)) if mode == "subscribe" else taken_over(bus, next(messages))

    assert "another has it now" in str(error)


def test_a_message_of_a_manual_loop_can_be_nacked_and_comes_again(worker: Client, connect: Connect) -> None:
    sent = connect("boss:s").send(WORKER, "note")
    messages = worker.listen(ack="manual", max_per_poll=1, timeout_s=DEADLINE_S)
    first = next(messages)

    state = worker.nack(first.id, reason="not now")

    again = next(messages)
    assert (state, again.id, again.attempts, again.reason) == ("delivered", sent.id, 2, "not now")
    assert again.lease is not None


def test_consumers_share_the_mail_and_none_gets_what_another_has(worker: Client, connect: Connect) -> None:
    boss = connect("boss:s")
    sent = [message.id for message in boss.send_many([{"to": WORKER, "type": "note"}] * 60)]
    taken: list[int] = []

    def work() -> None:
        while claimed := worker.claim(4):
            for message in claimed:
                worker.ack(message.id)
                taken.append(message.id)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert sorted(taken) == sent
    assert worker.inbox() == []
