"""Receipts and threads over the socket: the states of deliveries, waits for a state, and the replies to a message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from tests.rpc_server import Line, Served
from tests.support import bells, wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
WORKER = "worker:s"


@pytest.fixture
def worker(connect: Connect) -> BusClient:
    return connect(WORKER)


def wait_for_bell(served: Served, id: int) -> None:
    wait_until(lambda: any(bell.startswith(f"*{id}/") for bell in bells(served.db)), "the doorbell of the receipts")


def states(answer: Any) -> dict[str, str]:
    return {receipt["recipient"]: receipt["state"] for receipt in answer["receipts"]}


@pytest.mark.parametrize("method", ["receipts", "wait_receipt", "thread"])
def test_a_message_that_never_was_has_no_receipts_and_no_thread(line: Line, method: str) -> None:
    assert line.error(method, {"id": 7})["data"]["kind"] == "message_not_found"


def test_a_wait_for_receipts_ends_when_the_last_recipient_has_acked(
    served: Served, line: Line, boss: BusClient, worker: BusClient, connect: Connect
) -> None:
    sent = boss.send([WORKER, "other:s"], "job")
    line.tell("wait_receipt", {"id": sent.id}, id="all")
    worker.ack(sent.id)
    wait_for_bell(served, sent.id)
    assert line.ask("ping") == "pong"

    connect("other:s").ack(sent.id)

    answer = line.answer()
    assert (answer["id"], states(answer["result"])) == ("all", {WORKER: "acked", "other:s": "acked"})
    wait_until(lambda: not [bell for bell in bells(served.db) if bell.startswith("*")], "the end of the doorbell")


def test_a_wait_for_a_delivery_that_dies_or_expires_ends_with_an_error(
    served: Served, line: Line, boss: BusClient, worker: BusClient
) -> None:
    dying, ending = boss.send(WORKER, "job", max_attempts=1), boss.send("nobody:s", "job", expires_in_s=0.3)
    line.tell("wait_receipt", {"id": dying.id}, id=1)
    line.tell("wait_receipt", {"id": ending.id}, id=2)
    wait_for_bell(served, dying.id)
    worker.claim()
    worker.nack(dying.id, reason="broken")

    first, second = line.answer(), line.answer()

    assert (first["id"], first["error"]["data"]["kind"]) == (1, "undelivered")
    assert "broken" in first["error"]["message"]
    assert (second["id"], second["error"]["data"]["kind"]) == (2, "undelivered")


def test_a_bound_client_waits_for_receipts_of_what_it_sees(serve: Serve, boss: BusClient, worker: BusClient) -> None:
    hidden, own = boss.send("other:s", "secret"), boss.send(WORKER, "job")
    with serve("--as", WORKER).connect() as line:
        line.tell("wait_receipt", {"id": own.id}, id=1)
        worker.ack(own.id)

        assert states(line.answer()["result"]) == {WORKER: "acked"}
        assert line.error("wait_receipt", {"id": hidden.id})["data"]["kind"] == "message_not_found"


def test_a_bound_client_sees_of_a_thread_only_its_own_part(serve: Serve, boss: BusClient, worker: BusClient) -> None:
    root = boss.send(WORKER, "question")
    boss.send("other:s", "secret", reply_to=root.id)
    worker.reply(root, "answer")
    with serve("--as", WORKER).connect() as line:
        thread = line.ask("thread", {"id": root.id})["messages"]

    assert [message["type"] for message in thread] == ["question", "answer"]


def test_a_thread_of_large_messages_is_refused_and_can_be_had_in_part(line: Line, boss: BusClient) -> None:
    root = boss.send(WORKER, "question")
    for _ in range(6):
        boss.send(WORKER, "more", "x" * 3_000_000, reply_to=root.id)

    assert line.error("thread", {"id": root.id})["data"]["kind"] == "limit"
    assert len(line.ask("thread", {"id": root.id, "max": 3})["messages"]) == 3
