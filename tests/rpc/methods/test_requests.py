"""Requests of every form and their answers: by name and by position, one and many at once, in order."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raven import BusClient
from raven_rpc.methods.table import METHODS
from tests.rpc_server import Line, Served
from tests.support import DEADLINE_S, needs, wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]

# Of each method that takes something: all its parameters, in the order in which they may stand by position.
PARAMS: dict[str, dict[str, Any]] = {
    "send": {"from": "boss:s", "to": ["worker:s", "other:s"], "type": "note", "body": {"n": 1}, "urgency": "fyi",
             "tags": ["a"], "correlation_id": "c", "reply_to": 1, "task_id": 7, "expires_in_s": 60.5, "delay_s": 0,
             "dedup_key": "k", "report": "undelivered", "max_attempts": 3},
    "send_many": {"from": "boss:s", "messages": [{"to": "worker:s", "type": "note"}]},
    "inbox": {"role": "worker:s", "max": 5, "peek": True},
    "claim": {"role": "worker:s", "max": 5, "lease_s": 60},
    "read": {"id": 1, "role": "worker:s"},
    "recipients": {"id": 1},
    "ack": {"id": 1, "role": "worker:s", "subscription": None, "lease": None},
    "nack": {"id": 1, "role": "worker:s", "delay_s": 0.5, "reason": "busy", "lease": None},
    "extend": {"id": 1, "role": "worker:s", "lease_s": 60, "lease": None},
    "reply": {"id": 1, "from": "worker:s", "type": "note", "body": {"n": 1}, "urgency": "fyi", "tags": ["a"],
              "correlation_id": "c", "task_id": 7, "delay_s": 0, "max_attempts": 3, "expires_in_s": 60.5,
              "dedup_key": "r", "report": "undelivered"},
    "request": {"from": "boss:s", "to": ["worker:s"], "type": "note", "body": {"n": 1}, "timeout_s": 0.01,
                "urgency": "fyi", "tags": ["a"], "correlation_id": "c", "task_id": 7, "delay_s": 0,
                "max_attempts": 3, "reply_to": 1},
    "receipts": {"id": 1},
    "wait_receipt": {"id": 1, "state": "sent", "timeout_s": 5},
    "transaction": {"calls": [{"method": "send", "params": ["boss:s", "worker:s", "note"]}]},
    "history": {"correlation_id": "c", "task_id": None, "role": "worker:s", "max": 5},
    "thread": {"id": 1, "role": "worker:s", "max": 5},
    "dead": {"role": "worker:s", "max": 5},
    "requeue": {"ids": [], "all": True, "role": "worker:s"},
    "purge_dead": {"role": "worker:s"},
    "prune": {"older_than_s": 60, "dry_run": True, "grace_s": 5, "unfinished": True},
    "forget": {"role": ["gone:s", "*:gone"]},
    "subscribe": {"role": "reader:s", "ack": "manual", "window": 5},
    "held": {"subscription": 1},
    "unsubscribe": {"subscription": 1},
    "tail": {"from_id": 1, "role": "worker:s", "follow": False},
    "peers": {"session": "s"},
    "register": {"role": ["worker:s"]},
    "hello": {"as": "boss:s"},
    "ping": {},
    "stats": {"full": False},
    "last_id": {},
    "rpc.discover": {},
}  # fmt: skip


@pytest.fixture
def unchanged(shared: Served) -> Iterator[None]:
    """Demand that the test writes nothing to the bus, and leaves nothing behind."""
    asked = ("last_id", "peers")
    before = [shared.ask(method) for method in asked]
    yield
    wait_until(lambda: shared.ask("stats")["connections"] == 1, "the end of the other connections")
    assert [shared.ask(method) for method in asked] == before
    assert shared.ask("stats")["subscriptions"] == 0


def request(method: str, params: Any = None, **more: Any) -> str:
    request = {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params}), **more}
    return json.dumps(request)


def pipeline(line: Line, lines: list[str]) -> list[Any]:
    """Write all lines while reading the answers, so that neither side blocks the other."""
    writer = threading.Thread(target=line.write, args=("\n".join(lines),))
    writer.start()
    answers = [line.read() for _ in lines]
    writer.join(DEADLINE_S)
    return answers


def shape_of(value: Any) -> Any:
    """Return the parts of an answer that do not differ between two calls."""
    if isinstance(value, dict):
        return sorted(value)
    return type(value)


def test_every_method_has_its_parameters_written_down_here() -> None:
    assert set(PARAMS) == set(METHODS)
    for method, params in PARAMS.items():
        fields = METHODS[method].params.model_fields.items()
        assert [field.alias or name for name, field in fields] == list(params)


@pytest.mark.parametrize("method", PARAMS)
def test_parameters_mean_the_same_by_name_and_by_position(shared: Served, method: str) -> None:
    answers = []
    for is_by_name in (True, False):
        with shared.connect() as line:
            params = dict(PARAMS[method])
            sent = line.ask("send", ["boss:s", "worker:s", "note"])
            if method in ("nack", "extend"):
                line.ask("claim", {"role": "worker:s", "max": 1000})
                params["id"] = sent["id"]
            if method in ("held", "unsubscribe"):
                line.ask("subscribe", ["reader:s"])
            call = line.error if method == "request" else line.ask
            answers.append(call(method, params if is_by_name else list(params.values())))

    by_name, by_position = answers
    assert method != "request" or {answer["data"]["kind"] for answer in answers} == {"timeout"}
    assert shape_of(by_name) == shape_of(by_position)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("method", PARAMS)
def test_an_unknown_parameter_and_one_too_many_are_refused(shared: Served, method: str) -> None:
    with shared.connect() as line:
        by_name = line.error(method, {**PARAMS[method], "colour": "red"})
        by_position = line.error(method, [*PARAMS[method].values(), "red"])

        assert (by_name["code"], by_name["data"]["kind"]) == (-32602, "invalid_params")
        assert by_name["message"].startswith("'colour' is no parameter here; this method takes ")
        assert (by_position["code"], by_position["data"]["kind"]) == (-32602, "invalid_params")
        assert f"{len(PARAMS[method]) + 1} parameters are too many" in by_position["message"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("method", [method for method in PARAMS if PARAMS[method]])
def test_a_parameter_of_the_wrong_type_is_refused_by_its_name_and_nothing_is_done(shared: Served, method: str) -> None:
    with shared.connect() as line:
        for name in PARAMS[method]:
            if name == "body":
                continue
            error = line.error(method, {**PARAMS[method], name: {"wrong": "shape"}})
            assert (error["code"], error["data"]["kind"]) == (-32602, "invalid_params")
            assert error["message"].startswith(name)


def test_thousands_of_mixed_requests_in_one_write_are_answered_in_order(serve: Serve) -> None:
    with serve().connect() as line:
        line.ask("hello", ["worker:s"])
        kinds = [
            ("send", {"to": "worker:s", "type": "note"}),
            ("inbox", {"peek": True, "max": 1}),
            ("ping", {}),
            ("nothing", {}),
            ("read", {"id": 1}),
            ("send", {"to": "nobody", "type": "note"}),
            ("last_id", {}),
            ("ack", {"id": 10**6}),
        ]
        count = 500
        lines = [request(method, params, id=n * 10 + k) for n in range(count)
                 for k, (method, params) in enumerate(kinds)]  # fmt: skip

        answers = pipeline(line, lines)

        assert [answer["id"] for answer in answers] == [n * 10 + k for n in range(count) for k in range(len(kinds))]
        for n in range(count):
            sent, seen, pong, unknown, read, refused, last, missing = answers[n * 8 : n * 8 + 8]
            assert (sent["result"]["id"], seen["result"]["messages"][0]["id"]) == (n + 1, 1)
            assert (pong["result"], unknown["error"]["code"], read["result"]["id"]) == ("pong", -32601, 1)
            assert (refused["error"]["data"]["kind"], last["result"]) == ("address", {"id": n + 1})
            assert missing["error"]["data"]["kind"] == "message_not_found"


def test_a_read_after_a_write_sees_it_and_a_write_after_a_read_comes_later(serve: Serve) -> None:
    with serve().connect() as line:
        lines = []
        for n in range(100):
            lines.append(request("send", ["boss:s", "worker:s", "note", n], id="send"))
            lines.append(request("inbox", {"role": "worker:s", "peek": True}, id="inbox"))
            lines.append(request("ack", [n + 1, "worker:s"], id="ack"))
            lines.append(request("inbox", {"role": "worker:s", "peek": True}, id="empty"))

        answers = pipeline(line, lines)

        seen = [[m["body"] for m in a["result"]["messages"]] for a in answers if a["id"] == "inbox"]
        assert seen == [[n] for n in range(100)]
        assert [a["result"]["messages"] for a in answers if a["id"] == "empty"] == [[]] * 100


def test_a_batch_of_writes_reads_and_notifications_is_one_array_in_order(serve: Serve, connect: Connect) -> None:
    elements = [
        request("send", ["boss:s", "worker:s", "note", 1], id=1),
        request("send", ["boss:s", "worker:s", "note", 2]),
        request("inbox", {"role": "worker:s", "peek": True}, id=2),
        "[]",
        request("ping", {"x": 1}),
        request("send", ["boss:s", "", "note", 3], id=3),
        request("last_id", id=4),
    ]
    with serve().connect() as line:
        line.write(f"[{', '.join(elements)}]")
        sent, inbox, invalid, refused, last = line.read()

        assert (sent["id"], sent["result"]["body"]) == (1, 1)
        assert (inbox["id"], [m["body"] for m in inbox["result"]["messages"]]) == (2, [1, 2])
        assert (invalid["id"], invalid["error"]["code"]) == (None, -32600)
        assert (refused["id"], refused["error"]["data"]["kind"], last["result"]) == (3, "address", {"id": 2})
    assert [message.body for message in connect("worker:s").inbox()] == [1, 2]


def test_notifications_are_done_and_not_answered_even_when_they_fail(serve: Serve, connect: Connect) -> None:
    with serve().connect() as line:
        line.tell("send", ["boss:s", "worker:s", "note", "kept"])
        line.tell("send", ["boss:s", "worker", "note", "lost"])
        line.tell("ack", [999, "worker:s"])
        line.tell("nothing")

        assert line.ask("last_id") == {"id": 1}
    assert [message.body for message in connect("worker:s").inbox()] == ["kept"]


@pytest.mark.parametrize(
    "id",
    ['"x"', '""', '"\\u0000"', '"\\ud800"', "0", "-1", "1.5", "1e2", "1.7e308", "null", "9" * 4000, "-" + "9" * 4000,
     str(2**63), str(-(2**63) - 1)],
)  # fmt: skip
def test_an_id_that_is_a_text_a_number_or_null_comes_back_as_it_was(shared: Served, id: str) -> None:
    with shared.connect() as line:
        for method, part in (("ping", "result"), ("last_id", "result"), ("nothing", "error"), ("read", "error")):
            line.write(f'{{"jsonrpc": "2.0", "method": "{method}", "id": {id}}}')
            answer = line.read()
            assert part in answer
            assert answer["id"] == json.loads(id)


def test_all_that_was_asked_is_answered_after_a_half_close_without_a_last_newline(serve: Serve) -> None:
    with serve().connect() as line:
        asked = [request("send", ["boss:s", "worker:s", "note", n], id=n) for n in range(300)]
        line.write("\n".join(asked).encode())
        line.half_close()

        assert [line.read()["result"]["body"] for _ in range(300)] == list(range(300))
        assert line.read() is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n \n", " \t\r\n"])
def test_empty_lines_and_blanks_around_a_request_do_not_matter(shared: Served, end: str) -> None:
    with shared.connect() as line:
        for _ in range(3):
            line.write((end + request("ping", id=1) + end).encode())
        assert [line.read()["result"] for _ in range(3)] == ["pong"] * 3


def test_a_request_that_comes_byte_by_byte_is_answered(shared: Served) -> None:
    with shared.connect() as line:
        for byte in request("send", ["boss:s", "worker:s", "note", "é😀"], id=1).encode() + b"\n":
            line.write(bytes([byte]))

        assert line.read()["result"]["body"] == "é😀"


@pytest.mark.parametrize("client", [["socat", "-t", "20", "-"], ["nc", "-N", "-U"]])
def test_the_usual_programs_send_and_read_answers(serve: Serve, connect: Connect, client: list[str]) -> None:
    needs(client[0])
    served = serve()
    lines = [request("send", ["boss:s", "worker:s", "note", n], id=n) for n in range(3)] + [request("ping", id="p")]
    address = f"UNIX-CONNECT:{served.path}" if client[0] == "socat" else served.path

    done = subprocess.run(
        [*client, address], input="\n".join(lines).encode(), capture_output=True, timeout=DEADLINE_S, check=True
    )

    answers = [json.loads(answer) for answer in done.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [0, 1, 2, "p"]
    assert [message.body for message in connect("worker:s").inbox()] == [0, 1, 2]
    wait_until(lambda: served.ask("stats")["connections"] == 1, "the end of its connection")
