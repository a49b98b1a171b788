"""Every route does what the method of its name does, and refuses bad input with one line that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from raven.model.version import __version__
from tests.http_bridge import BridgeHere
from tests.support import Foreign

Serve = Callable[..., BridgeHere]


@pytest.fixture
def planner(connect: Callable[..., BusClient]) -> BusClient:
    return connect("planner:demo")


def test_health_names_the_file_without_its_folder(bridge: Serve) -> None:
    assert bridge().get("/health").json() == {"status": "ok", "db": "bus.db", "version": __version__}


def test_a_look_into_an_inbox_changes_nothing(bridge: Serve, planner: BusClient) -> None:
    sent = planner.send("coder:demo", "task", {"step": 1})
    served = bridge()

    for _ in range(2):
        [message] = served.get("/inbox", params={"role": "coder:demo"}).json()["messages"]
        assert (message["id"], message["body"], message["state"]) == (sent.id, {"step": 1}, "sent")
    assert [peer.address for peer in planner.peers() if peer.registered_at] == ["planner:demo"]


def test_a_message_comes_with_its_receipts(bridge: Serve, planner: BusClient) -> None:
    sent = planner.send(["coder:demo", "tester:demo"], "task")

    message = bridge().get(f"/message/{sent.id}").json()

    receipts = message.pop("receipts")
    assert message == planner.thread(sent.id)[0].as_dict()
    assert receipts == [receipt.as_dict() for receipt in planner.receipts(sent.id)]


def test_a_message_that_is_sent_over_http_is_committed_before_the_answer(bridge: Serve, planner: BusClient) -> None:
    answer = bridge().post("/send", json={"from": "a:s", "to": "planner:demo", "type": "task", "body": [1]})

    [message] = planner.inbox()
    assert (answer.status_code, answer.json()["id"], message.body, message.sender) == (200, message.id, [1], "a:s")


@pytest.mark.parametrize(
    ("path", "status", "kind", "shown"),
    [
        ("/inbox", 400, "bad_request", "'role' is missing: give an address"),
        ("/inbox?role=a:", 400, "bad_request", "'a:': its session is empty"),
        ("/inbox?role=:b", 400, "bad_request", "':b': its role is empty"),
        ("/inbox?role=a:b&max=0", 400, "bad_request", "max 0 is not a number of messages"),
        ("/inbox?role=a:b&max=1.5", 400, "bad_request", "max '1.5' is not a whole number"),
        ("/inbox?role=a:b&role=c:d", 400, "bad_request", "'role' is given 2 times"),
        ("/inbox?role=a:b&peek=true", 400, "bad_request", "'peek' is no parameter of this route, which takes role"),
        ("/inbox?role=%ff", 400, "bad_request", "the query 'role=%ff' is not of the form"),
        ("/stats?full=1", 400, "bad_request", "full '1' is neither true nor false"),
        ("/message/7", 404, "message_not_found", "there is no message #7"),
        ("/message/seven", 400, "bad_request", "id 'seven' is not a whole number"),
        ("/health?full=1", 400, "bad_request", "the query 'full=1' is not read by this route: leave it out"),
        ("/events?colour", 400, "bad_request", "the query 'colour' is not of the form"),
        ("/messages", 404, "not_a_route", "there is no route '/messages'"),
        ("/send", 405, "method_not_allowed", "the method 'GET' is not allowed here: use POST"),
    ],
)
def test_a_bad_path_or_query_is_refused_by_name(
    shared_bridge: BridgeHere, path: str, status: int, kind: str, shown: str
) -> None:
    answer = shared_bridge.get(path)

    error: dict[str, Any] = answer.json()
    assert (answer.status_code, error["error"]) == (status, kind)
    assert shown in error["detail"]
    assert error.get("id") == (7 if path == "/message/7" else None)
    assert shared_bridge.log() == ""


@pytest.mark.parametrize(
    ("body", "status", "kind", "shown"),
    [
        (b"", 400, "parse_error", "the body is empty"),
        (b"{", 400, "parse_error", "the body is not JSON: Expecting property name enclosed in double quotes at"),
        (b'{"to":NaN}', 400, "parse_error", "NaN is no JSON value"),
        (b'{"to":1,"to":1}', 400, "parse_error", 'the key "to" is there twice'),
        (b"[" * 100_000, 400, "parse_error", "it nests too deep"),
        (b'"\xff"', 400, "parse_error", "byte 1 is not UTF-8"),
        (b"[]", 422, "invalid_params", "the body is an array"),
        (b'{"to":"a:b","type":"t"}', 422, "invalid_params", "'from' is missing: give an address"),
        (b'{"from":"a:b","to":"c:d"}', 422, "invalid_params", "'type' is missing"),
        (b'{"from":"a","to":"c:d","type":"t"}', 422, "address", "'a' has no ':'"),
        (b'{"from":"a:b","to":"c:d","type":"t","colour":1}', 422, "invalid_params", "'colour' is no parameter of this"),
    ],
)
def test_a_bad_body_is_refused_by_name(
    shared_bridge: BridgeHere, body: bytes, status: int, kind: str, shown: str
) -> None:
    answer = shared_bridge.post("/send", content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["error"]) == (status, kind)
    assert shown in answer.json()["detail"]
    assert shared_bridge.log() == ""


@pytest.mark.parametrize("path", ["/health", "/inbox?role=a:b", "/message/7", "/metrics", "/openapi.json"])
def test_head_has_the_headers_of_get(shared_bridge: BridgeHere, path: str) -> None:
    head, get = shared_bridge.request("HEAD", path), shared_bridge.get(path)

    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert path == "/metrics" or head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize("path", ["/health", "/metrics", "/schemas", "/openapi.json", "/inbox"])
@pytest.mark.parametrize("method", ["DELETE", "PUT", "OPTIONS", "TRACE"])
def test_another_method_is_refused_with_those_that_are_allowed(
    shared_bridge: BridgeHere, path: str, method: str
) -> None:
    answer = shared_bridge.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert f"the method '{method}' is not allowed here" in answer.json()["detail"]


def test_no_get_writes_to_the_bus(bridge: Serve, planner: BusClient, foreign: Foreign) -> None:
    sent = planner.send("coder:demo", "task", correlation_id="c")
    served = bridge()
    paths = served.get("/openapi.json").json()["paths"]
    params = {"/inbox": {"role": "coder:demo"}, "/history": {"correlation_id": "c"}}
    version = foreign.execute("PRAGMA data_version")

    for path in (path for path, methods in paths.items() if "get" in methods and path != "/events"):
        answer = served.get(path.replace("{id}", str(sent.id)), params=params.get(path))
        assert answer.status_code == 200, path

    assert foreign.execute("PRAGMA data_version") == version
