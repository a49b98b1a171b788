"""Input that is wrong, truncated or abandoned: one clear error or a close, and the server keeps running."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.processes import needs_proc, open_files
from tests.rpc_server import Line, Served
from tests.support import DEADLINE_S, wait_until

SEND = ["boss:s", "worker:s", "note"]


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    """Return a server; after the test it must still work, and have logged no unforeseen error."""
    logged = len(shared.log())
    yield shared
    assert shared.ask("ping") == "pong"
    assert "Traceback" not in shared.log()[logged:]


@pytest.fixture
def unchanged(served: Served) -> Iterator[None]:
    """Demand that the test sends nothing."""
    before = served.ask("last_id")
    yield
    assert served.ask("last_id") == before


def error_of(line: Line, code: int, kind: str, id: Any = None) -> str:
    """Return the reason of the next answer, which must be an error of this code, kind and id."""
    answer = line.read()
    assert answer is not None, "the connection ended"
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", id)
    error = answer["error"]
    assert (error["code"], error["data"]["kind"], error["data"]["retryable"]) == (code, kind, False)
    return str(error["data"].get("reason") or error["message"])


def goes_on(line: Line) -> bool:
    """Whether the connection still works, with no further line on it."""
    return bool(line.ask("ping") == "pong")


def request(method: str, params: Any, id: Any = 1) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": id})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        *[(text, "at character") for text in (b"hello", b"{", b"}", b'{"jsonrpc": "2.0",}', b"{'a': 1}", b"[1, 2")],
        *[(text, "at character") for text in (b'"', b"\x00", b"nul")],
        *[(data, "is not UTF-8") for data in (b"\xff", b'{"a": "\xc3"}', b'"\xed\xa0\x80"', b"\x80" * 1000)],
        (b"\xfe\xff\x00{", "is not UTF-8"),
        *[(b"[" * 100_000 + end, "nests too deep") for end in (b"", b"]" * 100_000)],
        (b'{"a":' * 100_000, "nests too deep"),
        *[(b'{"id": ' + sign + b"9" * 5000 + b"}", "too many digits") for sign in (b"", b"-")],
    ],
)
def test_what_is_no_json_is_a_parse_error_and_the_connection_goes_on(served: Served, data: bytes, said: str) -> None:
    with served.connect() as line:
        line.write(data + b"\n")

        assert said in error_of(line, -32700, "parse_error")
        assert goes_on(line)


@pytest.mark.parametrize("place", ["role", "to", "body", "params", "id", "batch"])
def test_nesting_of_every_depth_is_a_plain_error_wherever_it_stands(served: Served, place: str) -> None:
    with served.connect() as line:
        for depth in [101, 500, *range(900, 1000)]:
            deep = "[" * depth + "]" * depth
            lines: dict[str, str] = {
                "role": f'{{"jsonrpc": "2.0", "method": "inbox", "params": {{"role": {deep}}}, "id": 1}}',
                "to": f'{{"jsonrpc": "2.0", "method": "send", "params": ["a:s", {deep}, "note"], "id": 1}}',
                "body": f'{{"jsonrpc": "2.0", "method": "send", "params": ["a:s", "b:s", "note", {deep}], "id": 1}}',
                "params": f'{{"jsonrpc": "2.0", "method": "read", "params": {deep}, "id": 1}}',
                "id": f'{{"jsonrpc": "2.0", "method": "ping", "id": {deep}}}',
                "batch": deep,
            }
            line.write(lines[place])
            answer = line.read()
            error = (answer[0] if isinstance(answer, list) else answer)["error"]
            assert error["code"] in (-32600, -32602, -32700), (depth, error)
        assert goes_on(line)


@pytest.mark.parametrize(
    "text",
    ['{"jsonrpc": "2.0", "method": "ping", "id": 1, "id": 2}',
     '{"jsonrpc": "2.0", "method": "send", "params": {"from": "a:s", "from": "b:s", "to": "c:s", "type": "t"}}',
     '[{"jsonrpc": "2.0", "method": "ping", "id": 1}, {"a": 1, "a": 1}]',
     "{" + "".join(f'"key-{number}":1,' for number in range(200_000)) + '"last":1,"last":2}'],
    ids=["of a request", "of its parameters", "in a batch", "at the end of a large object"],
)  # fmt: skip
@pytest.mark.usefixtures("unchanged")
def test_a_duplicate_key_is_a_parse_error_and_nothing_is_done(served: Served, text: str) -> None:
    with served.connect() as line:
        line.write(text)

        assert "is there twice in one object" in error_of(line, -32700, "parse_error")
        assert goes_on(line)


@pytest.mark.parametrize("id", [2**63, -(2**70), 0, -1, 10**4000])
@pytest.mark.parametrize("method", ["read", "ack", "recipients"])
def test_a_huge_or_negative_id_of_a_message_is_not_found(served: Served, method: str, id: int) -> None:
    with served.connect() as line:
        line.write(request(method, {"id": id}))

        error_of(line, -32001, "message_not_found", id=1)
        assert goes_on(line)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *[
            ({"jsonrpc": version, "method": "send", "params": SEND, "id": 1}, 'a request says "jsonrpc": "2.0"')
            for version in ("1.0", "2", "", 2.0, 2, None, ["2.0"])
        ],
        ({"method": "send", "params": SEND, "id": 1}, 'a request says "jsonrpc": "2.0"'),
        ([], "a batch holds at least one request"),
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_another_version_and_an_empty_batch_are_one_error_and_nothing_is_done(
    served: Served, value: Any, said: str
) -> None:
    with served.connect() as line:
        line.write(json.dumps(value))

        assert error_of(line, -32600, "invalid_request") == said
        assert goes_on(line)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("peers", {"session": "\ud800"}),
        ("history", {"correlation_id": "\ud800"}),
        ("history", {"task_id": "\ud800"}),
        ("hello", {"as": "\ud800:s"}),
        ("tail", {"role": "\ud800:s"}),
        ("register", {"role": ["a:\ud800"]}),
        ("send", {"from": "boss:s", "to": "worker:s", "type": "\ud800"}),
        ("send", {"from": "boss:s", "to": "worker:s", "type": "note", "body": ["\ud800"]}),
        ("send", {"from": "boss:s", "to": "worker:s", "type": "note", "dedup_key": "\ud800"}),
    ],
)
def test_a_text_that_is_no_unicode_is_refused_as_a_parameter(served: Served, method: str, params: Any) -> None:
    with served.connect() as line:
        line.ask("send", SEND)

        error = line.error(method, params)
        assert error["code"] == -32602
        assert goes_on(line)


@pytest.mark.parametrize("role", ["nobody", "", "*:s", "\ud800:s"])
def test_a_read_as_what_is_no_address_is_refused(served: Served, role: str) -> None:
    with served.connect() as line:
        sent = line.ask("send", SEND)

        assert line.error("read", [sent["id"], role])["data"]["kind"] == "address"


def test_a_refusal_speaks_of_json_and_not_of_python(served: Served) -> None:
    with served.connect() as line:
        message = line.error("send_many", {"from": "boss:s", "messages": [1]})["message"].lower()

        assert "instance" not in message
        assert "dictionary" not in message


@pytest.mark.usefixtures("unchanged")
def test_half_a_request_and_the_end_is_a_parse_error_and_then_the_end(served: Served) -> None:
    with served.connect() as line:
        line.write(request("send", SEND).encode()[:-10])
        line.half_close()

        error_of(line, -32700, "parse_error")
        assert line.read() is None


@pytest.mark.parametrize("data", [b"", b"\n", b" \n \r\n"])
def test_nothing_but_blanks_and_the_end_is_the_end(served: Served, data: bytes) -> None:
    with served.connect() as line:
        line.write(data)
        line.half_close()

        assert line.read() is None


@pytest.mark.parametrize("has_unread_answer", [False, True])
def test_a_request_and_an_immediate_close_is_done_or_not_and_harms_no_client(
    served: Served, has_unread_answer: bool
) -> None:
    role = f"closed-{has_unread_answer}:s"
    for number in range(100):
        with served.connect() as line:
            if has_unread_answer:
                line.tell("ping", id=1)
                assert not line.is_silent(DEADLINE_S)
            line.write(request("send", ["boss:s", role, "note", number]))

    wait_until(lambda: served.ask("stats")["connections"] == 1, "the end of the connections")
    served.ask("send", ["boss:s", role, "note", "last"])
    bodies = [message["body"] for message in served.ask("inbox", [role, 1000])["messages"]]
    assert bodies[-1] == "last"
    assert set(bodies) <= {*range(100), "last"}
    assert len(set(bodies)) == len(bodies)


@needs_proc
@pytest.mark.process
@pytest.mark.parametrize(("times", "reads"), [(20, True), (300, False)], ids=["in mid-answer", "without a word"])
def test_a_close_frees_the_connection_and_leaves_no_trace(
    serve: Callable[..., Served], times: int, reads: bool
) -> None:
    served = serve()
    sent = served.ask("send", [*SEND, "x" * 3_000_000])
    before = open_files(served.pid)
    for _ in range(times):
        with served.connect() as line:
            if reads:
                line.write(request("read", [sent["id"]]))
                assert len(line.socket.recv(1000)) == 1000

    wait_until(lambda: served.ask("stats")["connections"] == 1, "the end of the connections")
    wait_until(lambda: open_files(served.pid) <= before, "its descriptors")
    assert "Traceback" not in served.log()
