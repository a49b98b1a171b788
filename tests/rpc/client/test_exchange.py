"""The exchange of one connection: bytes in, replies and notifications out; all but one test without a socket."""

from __future__ import annotations

import asyncio
import json
import socket
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from raven import BodyError, LimitError, LostError, MessageNotFoundError, ServerError, UnreachableError
from raven_rpc.client.async_connection import AsyncConnection
from raven_rpc.client.exchange import Exchange, result_of
from tests.support import DEADLINE_S

FULL = {"jsonrpc": "2.0", "error": {"code": -32022, "message": "full", "data": {"kind": "limit"}}, "id": None}


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n"


def asked(method: str = "ping") -> Exchange:
    """Return an exchange whose first request waits for its reply."""
    exchange = Exchange("bus.sock")
    exchange.request(method, {})
    return exchange


def push(number: int) -> bytes:
    return line(method="message", params={"number": number})


def test_each_request_is_a_line_with_a_number_of_its_own() -> None:
    exchange = Exchange("bus.sock")

    lines = [exchange.request("ack", {"id": 7}), exchange.request("ping", [])]

    assert [one.count(b"\n") for one in lines] == [1, 1]
    assert [json.loads(one) for one in lines] == [
        {"jsonrpc": "2.0", "method": "ack", "params": {"id": 7}, "id": 1},
        {"jsonrpc": "2.0", "method": "ping", "params": [], "id": 2},
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [(object(), "is not JSON"), ({1, 2}, "is not JSON"), (reduce(lambda inner, _: [inner], range(200_000)), "flatten")],
    ids=["an object", "a set", "a deep list"],
)
def test_a_value_that_json_cannot_hold_is_refused_before_any_byte(value: Any, said: str) -> None:
    with pytest.raises(BodyError, match=said):
        Exchange("bus.sock").request("send", {"body": value})


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_reply_is_found_however_its_bytes_are_cut(size: int) -> None:
    exchange, data = asked(), push(1) + line(result="pöng", id=1) + push(2)
    replies, pushed = [], []

    for start in range(0, len(data), size):
        exchange.feed(data[start : start + size])
        replies += [reply for reply in [exchange.reply()] if reply is not None]
    while (notification := exchange.notification()) is not None:
        pushed.append(notification["params"]["number"])

    assert [result_of(reply) for reply in replies] == ["pöng"]
    assert pushed == [1, 2]


def test_the_reply_to_an_earlier_request_is_passed_over() -> None:
    exchange = asked()
    exchange.request("last_id", {})
    exchange.feed(line(result="late", id=1))
    assert exchange.reply() is None

    exchange.feed(line(result="mine", id=2) + line(result="of another", id=9) + push(3))

    assert result_of(exchange.reply() or {}) == "mine"
    assert (exchange.notification() or {})["params"] == {"number": 3}
    assert exchange.notification() is None


def test_an_error_without_an_id_answers_the_request_that_waits() -> None:
    exchange = asked()
    exchange.feed(json.dumps(FULL).encode() + b"\n")

    with pytest.raises(LimitError, match="full"):
        result_of(exchange.reply() or {})


def test_an_error_is_raised_as_its_class_with_the_number_of_the_call() -> None:
    exchange = asked("transaction")
    data = {"kind": "message_not_found", "retryable": False, "call": 2}
    exchange.feed(line(error={"code": -32001, "message": "there is no message #9", "data": data}, id=1))

    with pytest.raises(MessageNotFoundError, match="#9") as caught:
        result_of(exchange.reply() or {})

    assert caught.value.call == 2


def test_the_end_of_the_connection_is_said_to_be_a_loss() -> None:
    with pytest.raises(LostError, match=r"bus\.sock was lost"):
        asked().feed(b"")


def test_a_line_that_is_no_json_rpc_is_said_to_come_from_something_else() -> None:
    for said in (b"220 smtp ready\n", b"[1]\n", line(id=1, error="no")):
        exchange = asked()
        exchange.feed(said)
        with pytest.raises(ServerError, match=r"not a raven server|not a JSON-RPC error"):
            result_of(exchange.reply() or {})


def test_the_reason_for_a_close_is_raised_and_any_other_line_is_returned() -> None:
    exchange = Exchange("bus.sock")
    assert exchange.close_reason() is None
    exchange.feed(push(1) + json.dumps(FULL).encode() + b"\n")

    assert (exchange.close_reason() or {})["method"] == "message"
    with pytest.raises(LimitError, match="full"):
        exchange.close_reason()


def test_a_connection_of_an_event_loop_that_was_closed_has_nothing_more_to_tell(tmp_path: Path) -> None:
    path = str(tmp_path / "talker.sock")

    async def take(listening: socket.socket) -> Any:
        connection = AsyncConnection(path, DEADLINE_S)
        await connection.connect()
        talker, _ = listening.accept()
        with talker:
            talker.sendall(push(1) + push(2))
            first = await connection.next_notification()
            connection.close()
            with pytest.raises(LostError):
                await connection.next_notification()
            with pytest.raises(UnreachableError):
                await connection.ask("ping", {})
        return first["params"]

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        assert asyncio.run(take(listening)) == {"number": 1}
