"""The examples of section 7 of the JSON-RPC 2.0 specification, over a real socket.

https://www.jsonrpc.org/specification#examples
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from raven_rpc import Server
from raven_rpc.methods.method import Method, Work
from raven_rpc.methods.params import Params
from raven_rpc.server.dispatch import Dispatcher
from tests.rpc_server import Line
from tests.support import DEADLINE_S


class Difference(Params):
    minuend: int
    subtrahend: int


class Three(Params):
    a: int
    b: int
    c: int


class Five(Three):
    d: int
    e: int


class One(Params):
    a: int


PARSE_ERROR = {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": None}
INVALID_REQUEST = {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": None}


def not_found(id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": id}


def result(value: Any, id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "result": value, "id": id}


# The requests are the specification's, to the letter, but that each stands on one line.
EXAMPLES: dict[str, tuple[str, Any]] = {
    "positional parameters": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        result(19, 1),
    ),
    "positional parameters, the other way round": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        result(-19, 2),
    ),
    "named parameters": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        result(19, 3),
    ),
    "named parameters, the other way round": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        result(19, 4),
    ),
    "a notification": ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    "a notification of a non-existent method": ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    "a non-existent method": ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', not_found("1")),
    "invalid JSON": ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', PARSE_ERROR),
    "an invalid request object": ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', INVALID_REQUEST),
    "a batch of invalid JSON": (
        '[ {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method" ]',
        PARSE_ERROR,
    ),
    "an empty array": ("[]", INVALID_REQUEST),
    "an invalid batch that is not empty": ("[1]", [INVALID_REQUEST]),
    "an invalid batch": ("[1,2,3]", [INVALID_REQUEST, INVALID_REQUEST, INVALID_REQUEST]),
    "a batch": (
        '[ {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        ' {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},'
        ' {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},'
        ' {"foo": "boo"},'
        ' {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},'
        ' {"jsonrpc": "2.0", "method": "get_data", "id": "9"} ]',
        [result(7, "1"), result(19, "2"), INVALID_REQUEST, not_found("5"), result(["hello", 5], "9")],
    ),
    "a batch of notifications": (
        '[ {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},'
        ' {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]} ]',
        None,
    ),
}


def without_data(answer: Any) -> Any:
    """Return an answer without the `data` of its errors, which the specification leaves to the server."""
    if isinstance(answer, list):
        return [without_data(one) for one in answer]
    if "error" in answer:
        assert set(answer["error"]) == {"code", "message", "data"}
        return {**answer, "error": {name: answer["error"][name] for name in ("code", "message")}}
    return answer


@pytest.fixture
def heard() -> list[Any]:
    """Return the parameters of the received notifications."""
    return []


@pytest.fixture(params=["at once", "in the writer's thread", "in the reader's thread"])
def line(request: pytest.FixtureRequest, db: str, heard: list[Any]) -> Iterator[Line]:
    """Connect to a server with the specification's methods, which run in one of the executors."""
    executor: Any = {"in the writer's thread": "write", "in the reader's thread": "read"}.get(request.param)

    def method(params: type[Params], run: Any) -> Method:
        if executor is None:
            return Method(params, lambda context, args: run(args), "Value")
        return Method(params, lambda context, args: Work(executor, lambda: run(args)), "Value")

    def listen(args: Any) -> None:
        heard.append(list(args.model_dump().values()))

    server = Server(db)
    server.front.dispatcher = Dispatcher(
        {
            "subtract": method(Difference, lambda args: args.minuend - args.subtrahend),
            "sum": method(Three, lambda args: args.a + args.b + args.c),
            "get_data": method(Params, lambda args: ["hello", 5]),
            "update": method(Five, listen),
            "notify_sum": method(Three, listen),
            "notify_hello": method(One, listen),
        }
    )
    is_ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server.run(lambda path: is_ready.set())), daemon=True)
    thread.start()
    assert is_ready.wait(DEADLINE_S)
    try:
        with Line(f"{db}.sock") as connected:
            yield connected
    finally:
        server.loop.call_soon_threadsafe(server.stop)
        thread.join(DEADLINE_S)
    assert not thread.is_alive()


def last_answer_is_next(line: Line) -> bool:
    """Whether the next line is the response to one more request."""
    line.write('{"jsonrpc": "2.0", "method": "get_data", "id": "last"}')
    return bool(line.read() == result(["hello", 5], "last"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_specification_is_answered_as_it_says(line: Line, example: str) -> None:
    request, expected = EXAMPLES[example]

    line.write(request)

    if expected is not None:
        # The specification leaves the order in a batch open; raven uses the order of the requests.
        assert without_data(line.read()) == expected
    assert last_answer_is_next(line)


@pytest.mark.parametrize(
    ("example", "params"),
    [
        ("a notification", [[1, 2, 3, 4, 5]]),
        ("a notification of a non-existent method", []),
        ("a batch", [[7]]),
        ("a batch of notifications", [[1, 2, 4], [7]]),
    ],
)
def test_a_notification_of_the_specification_is_heard_though_not_answered(
    line: Line, heard: list[Any], example: str, params: list[Any]
) -> None:
    line.write(EXAMPLES[example][0])
    if EXAMPLES[example][1] is not None:
        line.read()

    assert last_answer_is_next(line)
    assert heard == params


def test_all_examples_in_one_write_are_answered_in_their_order(line: Line) -> None:
    line.write("\n".join(request for request, _ in EXAMPLES.values()))
    expected = [answer for _, answer in EXAMPLES.values() if answer is not None]

    assert [without_data(line.read()) for _ in expected] == expected
    assert last_answer_is_next(line)
