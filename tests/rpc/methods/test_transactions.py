"""Transactions over the socket: several calls in one commit, all or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from raven_rpc.methods.table import METHODS
from raven_rpc.methods.transaction import ALLOWED, MAX_CALLS
from tests.rpc_server import Line, Served
from tests.support import Foreign

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
WORKER = "worker:s"


@pytest.fixture
def line(line: Line) -> Line:
    """Say hello as WORKER."""
    line.ask("hello", {"as": WORKER})
    return line


def call(method: str, params: Any) -> dict[str, Any]:
    return {"method": method, "params": params}


def send(body: Any, to: str = "boss:s") -> dict[str, Any]:
    return call("send", {"to": to, "type": "note", "body": body})


def state_of(foreign: Foreign) -> Any:
    """Return every value that a transaction could change."""
    return [
        foreign.execute("SELECT id, body FROM messages ORDER BY id"),
        foreign.execute("SELECT id, state, lease, attempts, ready_at FROM deliveries ORDER BY id"),
    ]


def test_what_was_claimed_is_acked_and_answered_in_one_commit(line: Line, boss: BusClient) -> None:
    job = boss.send(WORKER, "job", correlation_id="c")
    line.ask("claim")

    results = line.ask(
        "transaction",
        {
            "calls": [
                call("ack", {"id": job.id}),
                call("reply", {"id": job.id, "type": "done", "body": 1}),
                call("send_many", {"messages": [{"to": "log:s", "type": "entry"}, {"to": "log:s", "type": "entry"}]}),
                {"method": "claim"},
            ]
        },
    )["results"]

    acked, reply, entries, claimed = results
    assert acked == {"acked": [job.id]}
    assert (reply["to"], reply["reply_to"], reply["correlation_id"]) == ("boss:s", job.id, "c")
    assert [message["type"] for message in entries["messages"]] == ["entry", "entry"]
    assert claimed == {"messages": []}
    assert (boss.read(job.id).state, [message.body for message in boss.inbox()]) == ("acked", [1])


def test_the_first_error_undoes_all_and_says_which_call_it_was(line: Line, boss: BusClient, foreign: Foreign) -> None:
    job = boss.send(WORKER, "job")
    line.ask("claim")
    before = state_of(foreign)
    calls = [send("lost"), call("ack", {"id": job.id}), call("nack", {"id": 10**6}), call("ack", {"id": 10**7})]

    error = line.error("transaction", {"calls": calls})

    assert error["data"] == {"kind": "message_not_found", "retryable": False, "call": 2}
    assert error["message"].startswith("call 2 (nack) of the transaction: there is no message #1000000")
    assert state_of(foreign) == before
    assert line.ask("ack", {"id": job.id}) == {"acked": [job.id]}


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (call("send", ["worker:s", "boss", "note"]), "address", "call 1 (send) of the transaction: address 'boss'"),
        (
            call("send", {"to": "b:s", "type": "x", "loud": 1}),
            "invalid_params",
            "call 1 (send) of the transaction: 'lo",
        ),
        (call("ping", {}), "invalid_params", "call 1 of the transaction: 'ping' cannot be part of a transaction"),
        (call("execute", ["DROP TABLE x"]), "invalid_params", "call 1 of the transaction: 'execute' cannot be part"),
        (call("transaction", {"calls": []}), "invalid_params", "call 1 of the transaction: 'transaction' cannot"),
        ({"params": {}}, "invalid_params", "call 1 of the transaction: 'method' is missing"),
        ({"method": "send", "params": 7}, "invalid_params", "call 1 (send) of the transaction: params 7"),
        ({"method": "send", "id": 7}, "invalid_params", "call 1 (send) of the transaction: 'id' is no parameter here"),
        (7, "invalid_params", "call 1 of the transaction: 7 is not an object"),
        ([], "invalid_params", "call 1 of the transaction: an array is not an object with"),
    ],
)
def test_a_call_that_is_none_is_refused_and_nothing_is_done(
    line: Line, boss: BusClient, call: Any, kind: str, message: str
) -> None:
    error = line.error("transaction", {"calls": [send(1), call]})

    assert (error["data"]["kind"], error["data"]["call"]) == (kind, 1)
    assert error["message"].startswith(message)
    assert boss.last_id() == 0


def test_what_was_claimed_in_a_transaction_is_remembered_and_only_if_it_was_committed(
    line: Line, boss: BusClient, connect: Connect, foreign: Foreign
) -> None:
    job = boss.send(WORKER, "job")
    line.error("transaction", {"calls": [call("claim", {}), call("ack", {"id": 10**6})]})
    assert boss.read(job.id).attempts == 0
    line.ask("transaction", {"calls": [call("claim", {})]})
    foreign.execute("UPDATE deliveries SET ready_at = 1")
    assert connect(WORKER).claim()

    assert line.error("ack", {"id": job.id})["data"]["kind"] == "lease_lost"


def test_a_transaction_frees_the_places_of_what_it_acks_in_the_window(line: Line, boss: BusClient) -> None:
    sent = [boss.send(WORKER, "job").id for _ in range(4)]
    line.ask("subscribe", {"ack": "manual", "window": 2})
    pushed = [line.push()["message"]["id"] for _ in range(2)]

    calls = [call("ack", {"id": pushed[0]}), call("nack", {"id": pushed[1], "delay_s": 600})]
    results = line.ask("transaction", {"calls": calls})["results"]

    assert results == [{"acked": [sent[0]]}, {"nacked": sent[1], "state": "delivered"}]
    assert [line.push()["message"]["id"] for _ in range(2)] == sent[2:]


def test_a_transaction_that_was_rolled_back_wakes_no_recipient(line: Line, boss: BusClient) -> None:
    line.ask("subscribe", {"role": "other:s"})

    line.error("transaction", {"calls": [send("lost", "other:s"), call("ack", {"id": 10**6})]})
    line.ask("transaction", {"calls": [send("kept", "other:s")]})

    assert line.push()["message"]["body"] == "kept"
    assert line.is_silent(0.2)


def test_a_transaction_in_a_group_of_writes_fails_alone(line: Line, boss: BusClient) -> None:
    for number in range(100):
        calls = [send(number), call("ack", {"id": 10**6})] if number % 2 else [send(number), send(number)]
        line.tell("transaction", {"calls": calls}, id=number)

    answers = [line.answer() for _ in range(100)]

    assert ["error" in answer for answer in answers] == [False, True] * 50
    assert [message.body for message in boss.inbox(1000)] == [n for n in range(0, 100, 2) for _ in range(2)]


def test_no_calls_are_a_transaction_and_too_many_are_none(line: Line, boss: BusClient) -> None:
    assert line.ask("transaction", {"calls": []}) == {"results": []}
    assert len(line.ask("transaction", {"calls": [send(1)] * MAX_CALLS})["results"]) == MAX_CALLS
    assert line.error("transaction", {"calls": [send(1)] * (MAX_CALLS + 1)})["data"]["kind"] == "limit"
    assert boss.last_id() == MAX_CALLS


@pytest.mark.parametrize("method", ["ack", "nack", "extend", "reply"])
def test_a_bound_client_reaches_nothing_of_others_by_a_transaction(
    serve: Serve, boss: BusClient, foreign: Foreign, method: str
) -> None:
    boss.send("other:s", "secret")
    before = state_of(foreign)
    needs = {"type": "answer"} if method == "reply" else {}
    with serve("--as", WORKER).connect() as line:
        hidden, never = (
            line.error("transaction", {"calls": [send(1), call(method, {"id": id, **needs})]}) for id in (1, 999)
        )

    assert hidden["data"]["kind"] == "message_not_found"
    assert str(hidden).replace("#1:", "#999:") == str(never)
    assert state_of(foreign) == before


def test_every_method_that_may_be_part_of_a_transaction_is_one() -> None:
    assert set(ALLOWED) <= METHODS.keys()


def test_a_transaction_over_the_socket_claims_no_more_than_an_answer_holds(
    serve: Callable[..., Served], connect: Connect
) -> None:
    worker = connect("worker:s")
    for _ in range(6):
        worker.send("worker:s", "note", "x" * 3_500_000)

    with serve().connect() as line:
        error = line.error("transaction", {"calls": [{"method": "claim", "params": {"role": "worker:s"}}] * 6})

    assert error["data"]["kind"] == "limit"
    assert {receipt.attempts for id in range(1, 7) for receipt in worker.receipts(id)} == {0}
