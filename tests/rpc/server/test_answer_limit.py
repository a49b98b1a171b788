"""The limit of an answer is checked before the commit: what is answered with `limit` was not done."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient, CorruptError
from raven_rpc.jsonrpc import messages
from raven_rpc.server import responses
from tests.rpc_server import Line, Served
from tests.support import wait_until
from tests.thread_server import ServedHere

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
WORKER = "worker:s"
LIMIT = 20_000


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE", LIMIT)


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Return a client of a bus on which a broadcast to *:q has 100 recipients."""
    bus = connect("boss:s")
    bus.register(*(f"role-{number}:q" for number in range(100)))
    return bus


@pytest.fixture
def line(serve: Serve, bus: BusClient) -> Line:
    line = serve().connect()
    line.ask("hello", {"as": WORKER})
    return line


def send(body: Any = None, to: str = "other:s", **options: Any) -> dict[str, Any]:
    return {"to": to, "type": "note", "body": body, **options}


def batch(line: Line, calls: list[tuple[str, Any]]) -> list[Any]:
    """Send calls as a batch, and return the answers: the kind of an error, or the result."""
    line.write(json.dumps([messages.request(id, *call) for id, call in enumerate(calls)]))
    answers = line.read()
    return [answer["result"] if "result" in answer else answer["error"]["data"]["kind"] for answer in answers]


@pytest.mark.parametrize("on_loop", [True, False])
def test_a_batch_runs_no_write_whose_answer_would_be_over_the_limit(line: Line, bus: BusClient, on_loop: bool) -> None:
    text = "x" * (2000 if on_loop else 2500)

    answers = batch(line, [("send", send(text))] * 20)

    done = [answer["id"] for answer in answers if answer != "limit"]
    assert 4 < len(done) < 15
    assert answers[len(done) :] == ["limit"] * (20 - len(done))
    assert (done, bus.last_id()) == (list(range(1, len(done) + 1)), len(done))


def test_a_batch_of_broadcasts_sends_those_whose_answers_fit(line: Line, bus: BusClient) -> None:
    answers = batch(line, [("send", send(to="*:q"))] * 20)

    done = [answer["id"] for answer in answers if answer != "limit"]
    assert 4 < len(done) < 15
    assert bus.last_id() == len(done)
    assert bus.stats().ready == 100 * len(done)


def test_a_broadcast_whose_answer_would_be_over_the_limit_is_not_sent(line: Line, bus: BusClient) -> None:
    bus.register(*(f"role-{number}:q" for number in range(1500)))

    assert line.error("send", send(to="*:q"))["data"] == {"kind": "limit", "retryable": False}

    assert bus.last_id() == 0
    assert line.ask("send", send())["id"] == 1


@pytest.mark.parametrize("options", [{"to": "*:q"}, {"dedup_key": "k"}])
def test_a_send_many_whose_answer_would_be_over_the_limit_sends_nothing(
    line: Line, bus: BusClient, options: dict[str, Any]
) -> None:
    if "dedup_key" in options:
        line.ask("send", send("x" * 6000, **options))  # each answer shows this body again

    error = line.error("send_many", {"messages": [send(**options), *[send(**options)] * 10, send()]})

    assert error["data"]["kind"] == "limit"
    assert bus.last_id() == (1 if "dedup_key" in options else 0)


def test_many_long_messages_are_not_sent_if_their_answer_would_be_over_the_limit(
    line: Line, bus: BusClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raven_rpc.methods.send.MAX_PAGE_BYTES", LIMIT)

    assert line.error("send_many", {"messages": [send("x" * 3000)] * 7})["data"]["kind"] == "limit"

    assert bus.last_id() == 0
    assert len(line.ask("send_many", {"messages": [send("x" * 3000)] * 4})["messages"]) == 4


def test_a_claim_in_a_batch_takes_what_the_answer_has_room_for(line: Line, bus: BusClient) -> None:
    for _ in range(10):
        bus.send(WORKER, "job", "x" * 3000)

    answers = batch(line, [("claim", {"max": 3})] * 5)

    taken = [message["id"] for answer in answers if answer != "limit" for message in answer["messages"]]
    assert taken == list(range(1, len(taken) + 1))
    assert 3 < len(taken) < 8
    assert [receipt.attempts for id in range(1, 11) for receipt in bus.receipts(id)] == [1] * len(taken) + [0] * (
        10 - len(taken)
    )


def test_a_transaction_whose_answer_would_be_over_the_limit_is_rolled_back(line: Line, bus: BusClient) -> None:
    for _ in range(10):
        bus.send(WORKER, "job", "x" * 3000)

    calls = [{"method": "send", "params": send()}, *[{"method": "claim", "params": {"max": 5}}] * 2]
    error = line.error("transaction", {"calls": calls})

    assert (error["data"]["kind"], error["data"]["call"]) == ("limit", 2)
    assert (bus.last_id(), bus.stats().in_flight) == (10, 0)


def test_a_reply_in_a_batch_that_is_full_comes_without_its_body(line: Line, bus: BusClient, connect: Connect) -> None:
    oracle, bodies = connect("oracle:s"), ["x" * 12_000, "y" * 12_000]
    question = {"to": "oracle:s", "type": "question"}
    line.write(json.dumps([messages.request(id, "request", question) for id in (1, 2)]))
    for body, message in zip(bodies, oracle.listen(), strict=False):
        oracle.reply(message, "answer", body)
        if body == bodies[1]:
            break

    first, second = (answer["result"] for answer in line.read())

    (cut,) = (reply for reply in (first, second) if reply["body"] is None)
    (whole,) = (reply for reply in (first, second) if reply["body"] in bodies)
    assert (cut["truncated"], "truncated" in whole) == (True, False)
    assert line.ask("read", {"id": cut["id"]})["body"] in bodies


def test_the_part_of_a_write_that_was_rolled_back_with_others_is_not_counted(
    line: Line, bus: BusClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raven.host.worker import Writer
    from tests.rpc.methods.test_repeated_jobs import commit_at_the_second_run

    monkeypatch.setattr(Writer, "_commit", commit_at_the_second_run)

    answers = batch(line, [("send", send("x" * 2000))] * 4)

    assert [answer["id"] for answer in answers] == [1, 2, 3, 4]


def test_a_request_that_fails_while_it_waits_is_withdrawn(
    serve: Callable[..., ServedHere], bus: BusClient, connect: Connect
) -> None:
    served = serve()
    with served.connect() as line:
        line.tell("request", {"from": WORKER, "to": "oracle:s", "type": "question"}, id=1)
        wait_until(lambda: served.ask("stats")["waits"] == 1, "the wait for the reply")
        (waits,) = (one.deferred for one in served.server.front._connections if len(one.deferred))

        served.do(lambda: next(iter(waits._open)).fail(CorruptError("the bus is damaged")))

        assert line.answer()["error"]["data"]["kind"] == "corrupt"
        wait_until(lambda: bus.receipts(1)[0].state == "expired", "the withdrawal")
    assert connect("oracle:s").claim() == []
