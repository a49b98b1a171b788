"""Requests: the reply reaches the sender of the request, and no other client."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest

from raven import BusClient, InputError, Message
from raven.wake.doorbell import Doorbells
from scripts.harness.deadline import Limit
from tests.client_process import Actor
from tests.support import DEADLINE_S, Foreign, Program, raven_threads, wait_for_waiting, wait_until
from tests.thread_call import Asking, request

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
# Far below the fallback poll of a waiting client.
PUSHED_S = Limit(0.8)


def actor(spawn: Spawn, db: str, address: str) -> Actor:
    return Actor(spawn("actor", db, address))


def echo(bus: BusClient, count: int = 1) -> None:
    """Reply to `count` requests with their own bodies."""
    for msg in islice(bus.listen(ack="manual", timeout_s=DEADLINE_S), count):
        bus.reply(msg, "answer", msg.body)
        bus.ack(msg.id)


def echoing(pool: ThreadPoolExecutor, bus: BusClient, count: int = 1) -> Future[None]:
    return pool.submit(echo, bus, count)


def the_pending(foreign: Foreign, recipient: str) -> list[Any]:
    """Return the id and the reply address of the pending message of an address, once there is one."""
    sql = "SELECT id, reply_address FROM pending WHERE recipient = ?"
    return list(wait_until(lambda: foreign.execute(sql, recipient), f"mail for {recipient}")[0])


def rest_s(bus: BusClient, message_id: int) -> float:
    """Return the seconds from the send of a message to its ack."""
    sent = bus.read(message_id)
    return (sent.acked_at - sent.created_at).total_seconds()


@pytest.mark.parametrize("mode", ["blocking", "async"])
def test_a_request_returns_its_answer_acked(connect: Connect, mode: str) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    options: dict[str, Any] = {"correlation_id": "c", "task_id": "t", "tags": ["x"], "urgency": "blocking"}
    asking = Asking(lambda: request(boss, mode, "worker:s", "add", [1, 2], **options))

    asked = wait_until(worker.claim, "the request")[0]
    worker.reply(asked, "sum", 3, tags=["done"])
    answer = asking.outcome()
    worker.ack(asked.id)

    assert (asked.type, asked.body, asked.sender, asked.tags) == ("add", [1, 2], "boss:s", ("x",))
    assert (asked.urgency, asked.correlation_id, asked.task_id) == ("blocking", "c", "t")
    assert (answer.type, answer.body, answer.sender, answer.state) == ("sum", 3, "worker:s", "acked")
    assert (answer.reply_to, answer.correlation_id, answer.task_id, answer.tags) == (asked.id, "c", "t", ("done",))
    assert answer.recipient == asked.reply_address != "boss:s"
    assert [worker.read(message.id).state for message in (asked, answer)] == ["acked", "acked"]
    assert (boss.inbox(), [peer.address for peer in boss.peers()]) == ([], ["boss:s", "worker:s"])


@pytest.mark.parametrize("number", range(3))
def test_a_reply_wakes_the_sender_of_the_request_at_once(db: str, connect: Connect, spawn: Spawn, number: int) -> None:
    bus = connect("worker:s")
    asker = actor(spawn, db, "boss:s")
    asker.begin("request", "worker:s", "ask", timeout_s=60)
    asked = wait_until(bus.claim, "the request")[0]
    wait_for_waiting(db, asked.reply_address)
    time.sleep(0.1 * number)  # at different moments between two polls

    answer = bus.reply(asked, "answer")

    assert asker.result()["id"] == answer.id
    assert rest_s(bus, answer.id) < PUSHED_S


def test_no_other_client_of_the_senders_address_gets_the_reply(db: str, connect: Connect, spawn: Spawn) -> None:
    worker, boss = connect("worker:s"), connect("boss:s")
    subscriber = spawn("subscriber", db, "boss:s")
    asker = actor(spawn, db, "boss:s")
    asker.begin("request", "worker:s", "ask")
    asked = wait_until(worker.claim, "the request")[0]
    wait_for_waiting(db, "boss:s")
    wait_for_waiting(db, asked.reply_address)

    asker.program.signal(signal.SIGSTOP)  # gives all other clients the time to be quicker
    answer = worker.reply(asked, "answer", "secret")
    taken = [*boss.inbox(), *boss.claim(10), *boss.listen(timeout_s=0.1), *boss.listen(ack="manual", timeout_s=0.1)]
    broadcast = worker.send("*:s", "note", "to all")
    heard = subscriber.read()
    asker.program.signal(signal.SIGCONT)

    assert (taken, heard["body"]) == ([], "to all")
    assert asker.result()["id"] == answer.id
    assert worker.recipients(broadcast.id) == ["boss:s"]
    assert worker.recipients(answer.id) == [asked.reply_address]


@pytest.mark.parametrize("to", [["a:s", "b:s"], "*:s", ["a:*", "b:s"]])
def test_the_first_reply_of_many_recipients_counts(
    db: str, connect: Connect, spawn: Spawn, to: str | list[str]
) -> None:
    a, b = connect("a:s"), connect("b:s")
    a.register("a:s", "b:s")
    asker = actor(spawn, db, "boss:s")
    asker.begin("request", to, "ask")
    asked = [wait_until(bus.claim, "the request")[0] for bus in (a, b)]
    asker.program.signal(signal.SIGSTOP)  # both replies must be there at its next poll

    b.reply(asked[1], "answer", "of b")
    a.reply(asked[0], "answer", "of a")
    asker.program.signal(signal.SIGCONT)

    assert asked[0].id == asked[1].id
    assert asker.result()["body"] == "of b"


@pytest.mark.parametrize("reply_to", ["message", "id"])
def test_a_reply_to_an_ordinary_message_goes_to_its_sender(connect: Connect, reply_to: str) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    sent = boss.send("worker:s", "note", 1, correlation_id="c", task_id="t", expires_in_s=60)
    (got,) = worker.inbox()

    reply = worker.reply(got if reply_to == "message" else got.id, "thanks", 2, urgency="fyi", tags=["x"])

    (seen,) = boss.inbox(peek=True)
    assert seen == reply
    assert (seen.type, seen.body, seen.sender, seen.urgency, seen.tags) == ("thanks", 2, "worker:s", "fyi", ("x",))
    assert (seen.reply_to, seen.correlation_id, seen.task_id, seen.expires_at) == (sent.id, "c", "t", None)


def test_a_reply_to_a_reply_goes_to_its_sender(connect: Connect) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    with ThreadPoolExecutor(1) as pool:
        echoing(pool, worker)
        answer = boss.request("worker:s", "echo")

    thanks = boss.reply(answer, "thanks")

    assert boss.recipients(thanks.id) == ["worker:s"]
    assert [msg.id for msg in boss.thread(thanks.id)] == [answer.reply_to, answer.id, thanks.id]


def test_the_answer_expires_with_the_request_unless_told_sooner(db: str, connect: Connect, spawn: Spawn) -> None:
    worker = connect("worker:s")
    asker = actor(spawn, db, "boss:s")

    asker.begin("request", "worker:s", "ask", timeout_s=60)
    asked = wait_until(worker.claim, "the request")[0]
    by_default = worker.reply(asked, "answer")
    asker.result()
    asker.begin("request", "worker:s", "ask", timeout_s=60)
    reply = worker.reply(wait_until(worker.claim, "the request")[0], "answer", expires_in_s=10)

    assert (asked.expires_at - asked.created_at).total_seconds() == 60
    assert abs((by_default.expires_at - asked.expires_at).total_seconds()) < 0.1
    assert (reply.expires_at - reply.created_at).total_seconds() == 10


def test_a_foreign_client_answers_by_sql_alone(db: str, spawn: Spawn, foreign: Foreign, connect: Connect) -> None:
    bus = connect("worker:s")
    asker = actor(spawn, db, "boss:s")
    asker.begin("request", "worker:s", "ask", timeout_s=60)
    asked_id, reply_address = the_pending(foreign, "worker:s")
    wait_for_waiting(db, reply_address)

    foreign.send(reply_address, {"of": "sql"}, sender="worker:s", reply_to=asked_id)
    answer = Message.from_dict(asker.result())

    assert (answer.body, answer.reply_to) == ({"of": "sql"}, asked_id)
    assert rest_s(bus, answer.id) < PUSHED_S


@pytest.mark.parametrize(
    "address",
    ["r" * 510 + ":s", "r:" + "s" * 510, "r" * 255 + ":" + "s" * 256, "é" * 510 + ":s", "東京 🦉:Zürich 1",
     "a" * 199 + " b:" + "c" * 199 + " d", "%2F/..:../%00", ".:."],
)  # fmt: skip
def test_any_address_can_ask_and_be_asked(connect: Connect, address: str) -> None:
    asker, worker = connect(address), connect("w" + address[1:])
    with ThreadPoolExecutor(1) as pool:
        echoing(pool, worker)

        assert asker.request(worker.address, "echo", address).body == address


def test_fifty_threads_of_one_client_each_get_their_own_answer(connect: Connect) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    with ThreadPoolExecutor(51) as pool:
        echoing(pool, worker, 50)
        asked = [pool.submit(boss.request, "worker:s", "echo", number) for number in range(50)]

        assert [one.result(DEADLINE_S).body for one in asked] == [*range(50)]


def test_fifty_tasks_of_one_client_each_get_their_own_answer(connect: Connect, way: str) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")

    async def ask() -> list[Any]:
        answers = await asyncio.gather(*(boss.request_async("worker:s", "echo", number) for number in range(50)))
        return [answer.body for answer in answers]

    with ThreadPoolExecutor(1) as pool:
        echoing(pool, worker, 50)
        bodies = asyncio.run(ask())

    assert bodies == [*range(50)]
    if way == "file":  # a server has threads of its own
        wait_until(lambda: not raven_threads(), "the end of the threads")


@pytest.mark.file_only
def test_a_request_inside_a_transaction_is_refused(connect: Connect) -> None:
    bus = connect("boss:s")

    with bus.transaction() as tx:
        with pytest.raises(InputError, match="inside a transaction"):
            bus.request("worker:s", "ask")
        with pytest.raises(InputError, match="inside a transaction"):
            asyncio.run(bus.request_async("worker:s", "ask"))
        tx.send("worker:s", "note", "kept")

    assert [msg.body for msg in connect("worker:s").inbox()] == ["kept"]


@pytest.mark.file_only
def test_a_reply_inside_a_transaction_is_heard_after_its_commit(db: str, connect: Connect, spawn: Spawn) -> None:
    worker = connect("worker:s")
    asker = actor(spawn, db, "boss:s")
    asker.begin("request", "worker:s", "ask")
    asked = wait_until(worker.claim, "the request")[0]
    wait_for_waiting(db, asked.reply_address)
    bell = Doorbells(db).create(str(asked.reply_address))

    with worker.transaction() as tx:
        answer = tx.reply(asked, "answer")
        tx.ack(asked.id)
        rung_inside = bell.wait(0)
        ended_at = time.monotonic()

    line = asker.program.read()
    assert (rung_inside, bell.wait(0), line["result"]["id"]) == (False, True, answer.id)
    assert line["at"] > ended_at
    bell.close()
