"""Requests through the client of the socket: each over a connection of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from raven import (
    BusClient,
    ClosedError,
    ExpiredError,
    LostError,
    Message,
    WaitTimeoutError,
)
from raven_rpc import Client
from raven_rpc.client.calls import Call
from raven_rpc.client.long_poll import LongPoll
from tests.dying_server import dying
from tests.rpc_server import Served
from tests.support import DEADLINE_S, wait_until
from tests.thread_call import Asking, request, wait_receipt

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
WORKER = "worker:s"
MODES = pytest.mark.parametrize("mode", ["blocking", "async"])


@pytest.fixture
def boss(serve: Serve) -> Iterator[Client]:
    with Client(serve().path, "boss:s") as client:
        yield client


def asked_of(worker: Any) -> Message:
    """Return the request that a worker has received."""
    requests: list[Message] = wait_until(lambda: worker.claim(lease_s=600), "the request")
    return requests[0]


def only_connection(bus: Client) -> bool:
    return bool(bus.call("stats")["connections"] == 1)


@MODES
def test_a_request_without_a_reply_in_time_is_withdrawn(boss: Client, connect: Connect, mode: str) -> None:
    began = time.monotonic()

    with pytest.raises(WaitTimeoutError, match=r"no reply to message #1 arrived within 0.4 s"):
        request(boss, mode, WORKER, "add", timeout_s=0.4)

    assert 0.39 <= time.monotonic() - began < DEADLINE_S
    assert (connect(WORKER).claim(), [receipt.state for receipt in boss.receipts(1)]) == ([], ["expired"])
    with pytest.raises(ExpiredError, match="its sender no longer waits"):
        boss.reply(1, "late")


@MODES
def test_an_answer_may_take_longer_than_answers_of_the_server_do(serve: Serve, connect: Connect, mode: str) -> None:
    with Client(serve().path, "boss:s", timeout_s=0.3) as bus:
        asking = Asking(lambda: request(bus, mode, WORKER, "add", timeout_s=DEADLINE_S))
        worker = connect(WORKER)
        asked = asked_of(worker)
        time.sleep(0.6)  # longer than an ordinary call would wait

        worker.reply(asked, "sum")

        assert asking.outcome().type == "sum"


@MODES
def test_other_calls_of_the_same_client_go_on_meanwhile(boss: Client, mode: str) -> None:
    asking = Asking(lambda: request(boss, mode, "boss:s", "question to myself", timeout_s=DEADLINE_S))
    asked = asked_of(boss)
    waiting = Asking(lambda: wait_receipt(boss, mode, asked.id))

    boss.reply(asked, "answer")
    boss.ack(asked.id)

    assert asking.outcome().type == "answer"
    assert [receipt.state for receipt in waiting.outcome()] == ["acked"]
    wait_until(lambda: only_connection(boss), "the end of the other connections")


def test_a_cancelled_request_is_withdrawn(boss: Client, connect: Connect) -> None:
    observer = connect("watcher:s")

    async def cancel() -> None:
        asking = asyncio.create_task(boss.request_async(WORKER, "add", timeout_s=600))
        await asyncio.to_thread(wait_until, observer.last_id, "the request")
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking

    asyncio.run(cancel())

    wait_until(lambda: observer.receipts(1)[0].state == "expired", "the end of the request")
    assert connect(WORKER).claim() == []


@MODES
def test_close_in_another_thread_ends_what_is_waited_for(serve: Serve, connect: Connect, mode: str) -> None:
    bus, observer = Client(serve().path, "boss:s", connect_timeout_s=600), connect("watcher:s")
    asking = Asking(lambda: request(bus, mode, WORKER, "add", timeout_s=600))
    wait_until(observer.last_id, "the request")
    waiting = Asking(lambda: wait_receipt(bus, mode, 1))
    wait_until(lambda: bus.call("stats")["connections"] == 3, "the wait for receipts")

    bus.close()

    assert [type(asking.outcome()), type(waiting.outcome())] == [ClosedError, ClosedError]
    wait_until(lambda: observer.receipts(1)[0].state == "expired", "the end of the request")
    with pytest.raises(ClosedError):
        request(bus, mode, WORKER, "add")


@MODES
def test_a_request_whose_connection_is_lost_is_not_asked_twice(tmp_path: Path, mode: str) -> None:
    path = str(tmp_path / "dying.sock")
    with dying(path) as asked, Client(path, "boss:s", connect_timeout_s=5) as bus:
        with pytest.raises(LostError, match="may have been done"):
            request(bus, mode, WORKER, "add", timeout_s=5)

        assert [request["method"] for request in asked] == ["request"]


def test_a_wait_over_the_socket_without_a_timeout_is_one_without_a_timeout(serve: Callable[..., Served]) -> None:
    with Client(serve().path, "worker:s") as bus:
        asked = Call("wait_receipt", {"id": 1, "state": "acked"}, lambda result: result)
        call = LongPoll(bus._transport, asked, None, may_wait_forever=True)

        assert call._params == {"id": 1, "state": "acked", "timeout_s": None}
