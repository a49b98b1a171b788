"""Deferred responses over the socket, to `request` and `wait_receipt`: they block nothing and leave nothing behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from raven.host import service
from raven.host.deferred import MAX_DEFERRED
from tests.processes import needs_proc, open_files
from tests.rpc_server import Line, Served
from tests.support import DEADLINE_S, Foreign, bells, wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
ORACLE = "oracle:s"
QUESTION = {"from": "boss:s", "to": ORACLE, "type": "question"}


@pytest.fixture
def oracle(connect: Connect) -> BusClient:
    return connect(ORACLE)


def asked(oracle: BusClient, count: int = 1) -> list[Any]:
    """Return the requests once `count` have come."""
    wait_until(lambda: len(oracle.inbox(peek=True)) >= count, f"{count} questions")
    return oracle.inbox()


def unfinished(foreign: Foreign) -> int:
    return int(foreign.value("SELECT count(*) FROM deliveries WHERE state < 2"))


def wait_for_waits(served: Served, count: int) -> None:
    wait_until(lambda: served.ask("stats")["waits"] == count, f"{count} waits")


def hanging(db: str) -> list[str]:
    """Return the remaining doorbells of private reply addresses and of receipts."""
    return [bell for bell in bells(db) if "+" in bell or bell.startswith("*")]


def test_a_reply_over_the_socket_answers_the_request_of_a_direct_client(line: Line, connect: Connect) -> None:
    line.ask("subscribe", {"role": ORACLE})
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(connect("boss:s").request(ORACLE, "question", "why?")))
    thread.start()

    question = line.push()["message"]
    reply = line.ask("reply", {"id": question["id"], "from": ORACLE, "type": "answer", "body": [1]})

    thread.join(DEADLINE_S)
    assert [answer.body for answer in answers] == [[1]]
    assert reply["to"] == question["reply_address"]


def test_many_requests_wait_side_by_side_and_each_gets_its_own_answer(line: Line, oracle: BusClient) -> None:
    count = 100
    for number in range(count):
        line.tell("request", {**QUESTION, "body": number}, id=number)
    for question in reversed(asked(oracle, count)):
        oracle.reply(question, "answer", question.body)

    answers = [line.answer() for _ in range(count)]

    assert sorted(answer["id"] for answer in answers) == list(range(count))
    assert all(answer["result"]["body"] == answer["id"] for answer in answers)


def test_a_client_that_has_closed_its_half_still_gets_its_answer(
    serve: Serve, oracle: BusClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_TICK_S", 0.05)
    with serve().connect() as line:
        line.tell("request", QUESTION, id=1)
        line.half_close()
        # Longer than some ticks: the server must not take a half-closed client for a closed one.
        assert line.is_silent(0.3)
        oracle.reply(asked(oracle)[0], "answer", "yes")

        assert line.answer()["result"]["body"] == "yes"
        assert line.read() is None


def test_a_request_whose_client_has_gone_is_withdrawn(served: Served, oracle: BusClient, foreign: Foreign) -> None:
    with served.connect() as line:
        line.tell("request", {**QUESTION, "timeout_s": 600}, id=1)
        wait_for_waits(served, 1)

    wait_until(lambda: oracle.read(1).state == "expired", "the end of the request")
    assert (oracle.inbox(), unfinished(foreign)) == ([], 0)
    wait_until(lambda: not hanging(served.db), "the end of the doorbell")


def test_a_batch_waits_for_its_slowest_part_and_keeps_its_order(line: Line, oracle: BusClient) -> None:
    batch = [
        {"jsonrpc": "2.0", "method": "send", "params": ["boss:s", "worker:s", "note"], "id": 1},
        {"jsonrpc": "2.0", "method": "request", "params": QUESTION, "id": 2},
        {"jsonrpc": "2.0", "method": "request", "params": {**QUESTION, "timeout_s": 0.2}, "id": 3},
        {"jsonrpc": "2.0", "method": "ping", "id": 4},
    ]
    line.write(json.dumps(batch))
    assert line.ask("last_id") == {"id": 3}
    oracle.reply(asked(oracle)[0], "answer")

    answers = line.answer()

    assert [answer["id"] for answer in answers] == [1, 2, 3, 4]
    assert (answers[1]["result"]["type"], answers[3]["result"]) == ("answer", "pong")
    assert answers[2]["error"]["data"]["kind"] == "timeout"


def test_a_request_without_an_id_is_sent_and_never_answered(served: Served, line: Line, oracle: BusClient) -> None:
    line.tell("request", QUESTION)
    oracle.reply(asked(oracle)[0], "answer")

    wait_for_waits(served, 0)
    assert line.ask("ping") == "pong"
    assert line.is_silent(0.1)


def test_waits_over_the_limit_are_refused_and_send_nothing(served: Served, line: Line, oracle: BusClient) -> None:
    more = 5
    for number in range(MAX_DEFERRED + more):
        line.tell("request", {**QUESTION, "timeout_s": 600}, id=number)

    refused = [line.answer() for _ in range(more)]

    assert {answer["error"]["data"]["kind"] for answer in refused} == {"limit"}
    assert [answer["id"] for answer in refused] == [MAX_DEFERRED + number for number in range(more)]
    wait_for_waits(served, MAX_DEFERRED)
    assert oracle.last_id() == MAX_DEFERRED


@needs_proc
@pytest.mark.process
def test_waits_leave_no_doorbell_and_no_descriptor_behind(served: Served, line: Line, oracle: BusClient) -> None:
    line.error("request", {**QUESTION, "timeout_s": 0.01})
    wait_until(lambda: not hanging(served.db), "the end of the first doorbell")
    before = open_files(served.pid)
    for number in range(50):
        line.tell("request", {**QUESTION, "timeout_s": 0.3}, id=number)
        line.tell("wait_receipt", {"id": 1, "state": "acked", "timeout_s": 0.3}, id=number)

    kinds = {line.answer()["error"]["data"]["kind"] for _ in range(100)}

    assert kinds == {"timeout", "undelivered"}
    wait_until(lambda: not hanging(served.db), "the end of the doorbells")
    wait_until(lambda: open_files(served.pid) <= before, "the end of the descriptors")


def test_a_server_that_stops_completes_deferred_requests_at_once_and_withdraws_them(
    served: Served, line: Line, oracle: BusClient, foreign: Foreign
) -> None:
    line.tell("request", {**QUESTION, "timeout_s": 600}, id=1)
    line.tell("wait_receipt", {"id": 1, "timeout_s": None}, id=2)
    wait_for_waits(served, 2)

    assert served.stop() == 0

    assert sorted((a["id"], a["error"]["data"]["kind"]) for a in (line.read(), line.read())) == [
        (1, "closed"),
        (2, "closed"),
    ]
    assert line.read() is None
    assert (oracle.read(1).state, unfinished(foreign)) == ("expired", 0)
    assert hanging(served.db) == []


def test_a_bound_client_asks_in_its_own_name_and_gets_the_answer(serve: Serve, oracle: BusClient) -> None:
    with serve("--as", "worker:s").connect() as line:
        line.tell("request", {"to": ORACLE, "type": "question"}, id=1)
        [question] = asked(oracle)
        oracle.reply(question, "answer", "to you")

        assert line.answer()["result"]["body"] == "to you"
        assert question.sender == "worker:s"


def test_the_answer_to_a_request_cannot_be_sent_twice_in_vain(line: Line, oracle: BusClient) -> None:
    line.tell("request", QUESTION, id=1)
    [question] = asked(oracle)
    oracle.reply(question, "answer", "first")
    assert line.answer()["result"]["body"] == "first"

    second = oracle.reply(question, "answer", "second")

    assert line.is_silent(0.2)
    assert second.to == question.reply_address


def test_replies_to_a_client_that_does_not_read_stay_in_the_store_and_block_no_client(
    served: Served, line: Line, oracle: BusClient, foreign: Foreign
) -> None:
    count, size = 30, 1_000_000
    for number in range(count):
        line.tell("request", {**QUESTION, "timeout_s": 600}, id=number)
    with served.connect() as other:
        for question in asked(oracle, count):
            oracle.reply(question, "answer", "x" * size)
            oracle.ack(question.id)
            # The first reply fills the pipe; replies to earlier requests are on their way already.
            wait_until(lambda: other.ask("stats")["waits"] < count, "the first answer")

        assert other.ask("send", ["boss:s", "worker:s", "note"])
        assert other.ask("stats")["waits"] > count / 2
    assert unfinished(foreign) > count / 2

    answers = [line.answer() for _ in range(count)]
    assert sorted(answer["id"] for answer in answers) == list(range(count))
    assert {len(answer["result"]["body"]) for answer in answers} == {size}
