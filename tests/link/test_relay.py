"""Hosts with relays as processes and a real NATS server: what clients on one host see of the others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raven import BusClient, UndeliveredError
from scripts.harness.deadline import Limit, wait_until
from scripts.harness.nats_server import NATSServer
from tests.doctor_process import run_checks
from tests.link.conftest import nats_binary
from tests.linked_hosts import Realm, take, wait_for_peer
from tests.support import Foreign, Program


@pytest.fixture(params=["newest", pytest.param("oldest", marks=pytest.mark.slow)])
def binary(request: pytest.FixtureRequest) -> str:
    """Return the path of each nats-server in turn."""
    return nats_binary(request.param)


def test_a_message_arrives_whole_once_and_in_order_and_its_receipt_comes_back(realm: Realm, alpha: BusClient) -> None:
    worker = realm.worker("beta", "worker:s1")
    first = alpha.send(
        "worker:s1", "task", {"text": "ä\u2028\0", "n": 1.5}, urgency="blocking", tags=["a", "b"], correlation_id="c1",
        task_id="t1", dedup_key="k1", expires_in_s=600,
    )  # fmt: skip
    worker.take(1)
    sent = [alpha.send("worker:s1", "task", {"n": n}) for n in range(300)]

    taken = worker.take(301)

    assert [message.body for message in taken[1:]] == [{"n": n} for n in range(300)]
    for name in ("sender", "recipient", "type", "body", "urgency", "tags", "correlation_id", "task_id"):
        assert getattr(taken[0], name) == getattr(first, name), name
    assert taken[0].expires_at
    assert first.expires_at
    assert abs((taken[0].expires_at - first.expires_at).total_seconds()) < 0.5
    receipts = [alpha.wait_receipt(message.id, timeout_s=20)[0] for message in (first, *sent)]
    assert {(receipt.state, receipt.attempts) for receipt in receipts} == {("acked", 1)}
    assert alpha.send("worker:s1", "task", {"n": 0}, dedup_key="k1").id == first.id
    time.sleep(0.3)
    assert len(worker.taken) == 301


def test_each_receipt_comes_as_the_mail_is_handled_and_not_with_the_look_of_each_second(
    realm: Realm, alpha: BusClient
) -> None:
    realm.worker("beta", "worker:s1")
    wait_for_peer(alpha, "worker:s1")
    alpha.wait_receipt(alpha.send("worker:s1", "task").id, timeout_s=20)
    took_s = []

    for _ in range(10):
        began = time.monotonic()
        alpha.wait_receipt(alpha.send("worker:s1", "task").id, timeout_s=20)
        took_s.append(time.monotonic() - began)

    assert sorted(took_s)[4] < Limit(0.05)


def test_a_request_is_answered_from_the_other_host_and_tells_that_it_is_awaited(realm: Realm, alpha: BusClient) -> None:
    realm.worker("beta", "worker:s1")
    wait_for_peer(alpha, "worker:s1")

    replies = [alpha.request("worker:s1", "question", n, timeout_s=20) for n in range(20)]

    assert [reply.body for reply in replies] == [{"answer": n} for n in range(20)]
    assert {reply.sender for reply in replies} == {"worker:s1"}


def test_a_broadcast_reaches_the_agents_of_all_hosts(realm: Realm, alpha: BusClient) -> None:
    realm.link("gamma")
    workers = [realm.worker(host, f"{role}:s1") for host, role in (("beta", "b"), ("beta", "b2"), ("gamma", "c"))]
    for worker in workers:
        wait_for_peer(alpha, worker.bus.address)

    message = alpha.send("*:s1", "note", "to all")

    assert [worker.take(1)[0].body for worker in workers] == ["to all"] * 3
    assert len(alpha.wait_receipt(message.id, timeout_s=20)) == 3


def test_a_message_that_dies_on_the_other_host_is_dead_here_reported_and_can_be_requeued_here(
    realm: Realm, alpha: BusClient
) -> None:
    other = realm.bus("beta", "worker:s1")
    wait_for_peer(alpha, "worker:s1")
    message = alpha.send("worker:s1", "task", 1, max_attempts=1, report="undelivered")
    [claimed] = wait_until(other.claim, "the message is on beta")

    other.nack(claimed.id, reason="no such thing")

    with pytest.raises(UndeliveredError, match="no such thing"):
        alpha.wait_receipt(message.id, timeout_s=20)
    [letter] = alpha.dead()
    assert (letter.id, letter.reason) == (message.id, "no such thing")
    assert take(alpha)[0].type == "raven.undelivered"
    alpha.requeue(message.id)
    [again] = wait_until(other.claim, "the message is on beta again")
    other.ack(again.id)
    assert alpha.wait_receipt(message.id, timeout_s=20)[0].state == "acked"


def test_mail_for_an_unknown_address_waits_here_and_goes_where_a_consumer_comes_up(
    realm: Realm, alpha: BusClient
) -> None:
    messages = [alpha.send("late:s1", "task", n) for n in range(5)]
    local = realm.bus("alpha", "late:s1", register=False)
    assert [message.body for message in local.inbox(peek=True)] == [0, 1, 2, 3, 4]

    worker = realm.worker("beta", "late:s1")

    assert [message.body for message in worker.take(5)] == [0, 1, 2, 3, 4]
    assert [alpha.wait_receipt(message.id, timeout_s=20)[0].state for message in messages] == ["acked"] * 5
    assert not local.inbox(peek=True)


def test_a_local_loop_keeps_the_mail_that_is_sent_beside_it(realm: Realm, alpha: BusClient) -> None:
    here, there = realm.worker("alpha", "pool:s1"), realm.worker("beta", "pool:s1")
    wait_until(lambda: any(peer.waiting for peer in alpha.peers() if peer.address == "pool:s1"), "a loop waits")
    time.sleep(1.5)  # two cards: each host knows of both loops

    for n in range(20):
        alpha.send("pool:s1", "task", n)

    assert [message.body for message in here.take(20)] == list(range(20))
    assert not there.taken


def test_a_message_to_two_addresses_of_a_host_does_not_come_before_older_ones(realm: Realm, alpha: BusClient) -> None:
    realm.link("gamma")
    worker = realm.worker("beta", "worker:s1")
    for host in ("beta", "gamma"):
        realm.worker(host, "pool:s1")
    wait_for_peer(alpha, "worker:s1")
    wait_for_peer(alpha, "pool:s1")
    # So many in one commit that they leave in several steps.
    messages = [{"to": "worker:s1", "type": "task", "body": n} for n in range(500)]
    both = ["worker:s1", "pool:s1"]
    alpha.send_many([*messages, *({"to": both, "type": "task", "body": n} for n in range(500, 510))])

    assert [message.body for message in worker.take(510)] == list(range(510))


def test_a_body_far_over_the_largest_message_of_the_server_arrives(realm: Realm, alpha: BusClient) -> None:
    worker = realm.worker("beta", "worker:s1")
    wait_for_peer(alpha, "worker:s1")
    body = "".join(f"{n * 2654435761 % 2**32:08x}" for n in range(450_000))

    message = alpha.send("worker:s1", "task", body)
    alpha.send("worker:s1", "task", "after")

    assert [taken.body for taken in worker.take(2)] == [body, "after"]
    assert alpha.wait_receipt(message.id, timeout_s=20)


def test_plain_sqlite_sends_to_another_host_as_well(
    realm: Realm, alpha: BusClient, spawn: Callable[..., Program]
) -> None:
    worker = realm.worker("beta", "worker:s1")
    wait_for_peer(alpha, "worker:s1")

    Foreign(spawn("external_writer", alpha.db_path)).send("worker:s1", [1])

    assert worker.take(1)[0].body == [1]


def test_messages_of_a_killed_relay_and_a_killed_server_arrive_once_and_in_order(
    realm: Realm, alpha: BusClient, nats: NATSServer, spawn: Callable[..., Program]
) -> None:
    relays = [realm.link("gamma"), realm.link("delta")]
    sender, worker = realm.bus("gamma", "boss:s2"), realm.worker("delta", "worker:s2")
    wait_for_peer(sender, "worker:s2")
    count = 0
    for round_ in range(6):
        for _ in range(100):
            sender.send("worker:s2", "task", count)
            count += 1
        if round_ == 4:
            nats.kill()
            nats.start()
        else:
            relays[round_ % 2].kill()
            relays[round_ % 2].start()

    taken = worker.take(count, timeout_s=60)

    assert [message.body for message in taken] == list(range(count))
    foreign = Foreign(spawn("external_writer", sender.db_path))
    for table in ("link_out", "link_news", "deliveries WHERE state < 2"):
        wait_until(lambda table=table: not foreign.value(f"SELECT count(*) FROM {table}"), f"nothing is in {table}", 30)


def test_a_server_that_forgets_everything_is_set_up_anew_and_gets_all_again(
    realm: Realm, alpha: BusClient, nats: NATSServer
) -> None:
    worker = realm.worker("beta", "worker:s1")
    wait_for_peer(alpha, "worker:s1")
    nats.kill()
    for n in range(50):
        alpha.send("worker:s1", "task", n)
    nats.wipe()

    nats.start()

    assert [message.body for message in worker.take(50, timeout_s=60)] == list(range(50))


def test_a_relay_waits_for_a_server_that_is_not_there_yet(realm: Realm, nats: NATSServer) -> None:
    nats.kill()
    relay = realm.link("alpha", waits=False)
    wait_until(lambda: "no NATS server at" in relay.log(), "the relay tells that there is no server")

    nats.start()

    relay.wait_until_linked()
    assert relay.stop() == 0


def test_a_relay_ends_in_order_and_its_status_tells_so(realm: Realm) -> None:
    relay = realm.link("alpha")
    status = wait_until(relay.status, "the status is written")
    assert (status["pid"], status["name"], status["hosts"], status["failure"]) == (relay.pid, "alpha", {}, None)

    assert relay.stop() == 0

    assert json.loads(Path(f"{relay.db}-bells/link.json").read_text(encoding="utf-8"))["ended_at"]
    assert relay.log() == ""


def test_the_doctor_knows_whether_the_relay_runs_and_which_host_is_silent(realm: Realm) -> None:
    relay, other = realm.link("alpha"), realm.link("beta")
    alpha, beta = realm.bus("alpha", "boss:s1"), realm.bus("beta", "idle:s1")
    beta.register("idle:s1")
    wait_for_peer(alpha, "idle:s1")
    sent = alpha.send("idle:s1", "task")
    wait_until(lambda: alpha.receipts(sent.id)[0].host == "beta", "the hold")

    def found(word: str) -> bool:
        return word in run_checks(realm.db("alpha"))["link"].found

    wait_until(lambda: found(f"links this bus to beta over {realm.url}"), "the status")
    assert run_checks(realm.db("alpha"))["link"].verdict == "ok"
    other.stop()
    wait_until(lambda: found("beta has 1 unfinished deliveries"), "the silence", 40)
    relay.stop()
    assert found("no relay of this bus runs")
