"""Memory: long lines are parsed one after the other, and answers that are not read do not pile up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raven import BusClient, LimitError
from raven.host import limits
from raven.model import body
from raven.model.body import count_values
from raven_rpc.jsonrpc import batch, messages
from tests.processes import needs_proc, peak_mib
from tests.rpc_server import Served
from tests.support import DEADLINE_S, wait_until
from tests.thread_server import ServedHere

Serve = Callable[..., Served]
MIB = 1024 * 1024
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('"\\,[]{}:ab\U0001f600'),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text('a"\\,'), children, max_size=4),
)


def long_send(id: int, size: int = 2 * MIB, body: Any = None) -> str:
    params = {"to": "boss:s", "type": "t", "body": "x" * size if body is None else body}
    return json.dumps({"jsonrpc": "2.0", "method": "send", "params": params, "id": id})


def number_of_values(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(number_of_values, value.values()))
    return 1 + sum(map(number_of_values, value)) if isinstance(value, list) else 1


@given(_JSON)
def test_the_count_of_values_is_never_too_low_by_more_than_one(value: Any) -> None:
    for ensure_ascii in (True, False):
        line = json.dumps(value, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass")
        assert number_of_values(value) - 1 <= count_values(line) <= 2 * number_of_values(value)


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_the_count_of_values_does_not_depend_on_where_a_line_is_cut(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    line = json.dumps([{"a,b": ["[[", "{", 1, '"\\'], "": [[], {}]}] * 5).encode()
    expected = count_values(line)
    monkeypatch.setattr(body, "_COUNTED_PIECE", size)
    assert count_values(line) == expected


def test_long_and_short_lines_are_answered_in_their_order(serve: Serve, connect: Callable[..., BusClient]) -> None:
    ping = '{"jsonrpc":"2.0","method":"ping","id":"p"}'
    hello = '{"jsonrpc":"2.0","method":"hello","params":{"as":"w:s"},"id":"h"}'
    four = f"[{hello.replace('w:s', 'v:s')},{long_send(3, 100_000)},{ping},{long_send(4, 10)}]"
    with serve().connect() as line:
        requests = [hello, long_send(1), ping, "{" * 100_000, long_send(2), four, long_send(5, 10)]
        # In a thread: the server reads no more than it can answer.
        writer = threading.Thread(target=line.write, args=("\n".join(requests),))
        writer.start()
        answers = [line.read() for _ in range(7)]
        writer.join(DEADLINE_S)

    assert [answer["id"] for answer in answers[:5]] == ["h", 1, "p", None, 2]
    assert answers[3]["error"]["code"] == -32700
    assert [answer["id"] for answer in answers[5]] == ["h", 3, "p", 4]
    senders = [answers[1], answers[4], answers[5][1], answers[5][3], answers[6]]
    assert [answer["result"]["sender"] for answer in senders] == ["w:s", "w:s", "v:s", "v:s", "v:s"]
    assert [len(message.body) for message in connect("boss:s").inbox()] == [2 * MIB, 2 * MIB, 100_000, 10, 10]


@pytest.mark.parametrize("body", [[{}] * 40_000, [0] * 60_000, ["a"] * 40_000, {str(n): n for n in range(30_000)}])
def test_a_line_of_too_many_values_is_refused_before_it_is_parsed(serve: Serve, body: Any) -> None:
    with serve("--as", "w:s", "--limit", "values=50000").connect() as line:
        line.write(long_send(1, body=body))
        error = line.read()
        line.write(long_send(2, body="," * 1_000_000))
        sent = line.read()

    assert (error["id"], error["error"]["data"]["kind"]) == (None, "limit")
    assert "`values` of 50,000" in error["error"]["message"]
    assert sent["result"]["id"] == 1  # and the first was not sent


@given(st.lists(_JSON, min_size=1, max_size=8), st.integers(1, 30), st.integers(17, 60), st.booleans())
def test_a_batch_is_split_into_elements_of_bounded_size(
    value: list[Any], most: int, size: int, is_spaced: bool
) -> None:
    line = json.dumps(value, indent=1 if is_spaced else None).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "_PIECE", size)
        try:
            elements = batch.split(line, most)
        except LimitError:
            assert max(2 * number_of_values(element) for element in value) + 1 > most
            return

    assert [json.loads(element.text) for element in elements] == value
    # The last piece of a window may hold as many values as it has characters.
    assert all(number_of_values(element) <= most + size + 1 for element in value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1, 2", "Expecting ',' delimiter at character 5"),
        ("[1, 2] 3", "Extra data at character 7"),
        ("[1, 2 3]", "Expecting ',' delimiter at character 6"),
        ("[1, ]", "Expecting value at character 4"),
        ('[1, "a', "Unterminated string starting at at character 4"),
        ("[1, NaN]", "NaN is no JSON value"),
        ('[{"a": 1, "a": 2}]', "is there twice"),
        (f"[{'1, ' * 40}x, {'1, ' * 40}1]", "Expecting value at character 121"),
    ],
)
def test_a_batch_that_is_no_json_is_refused_as_a_whole(monkeypatch: pytest.MonkeyPatch, line: str, said: str) -> None:
    monkeypatch.setattr(batch, "_PIECE", 32)

    with pytest.raises(messages.ParseError, match=said):
        batch.split(line.encode(), 8)


def test_a_long_batch_counts_the_values_of_each_element(serve: Serve, connect: Callable[..., BusClient]) -> None:
    pings = [{"jsonrpc": "2.0", "method": "ping", "id": number} for number in range(20_000)]
    large = json.loads(long_send(1, body=[0] * 60_000))
    with serve("--as", "w:s", "--limit", "values=50000", "--limit", "requests_per_s=0").connect() as line:
        line.write(json.dumps([json.loads(long_send(1, 10)), *pings, {"id": 1}]))
        answers = line.read()
        line.write(json.dumps([json.loads(long_send(1, 10)), *pings, large]))
        refused = line.read()

    assert [answer["id"] for answer in answers] == [1, *range(20_000), None]
    assert [answer["error"]["code"] for answer in answers if "error" in answer] == [messages.INVALID_REQUEST]
    assert "element 20,002 of the batch holds more JSON values than the limit `values`" in refused["error"]["message"]
    assert connect("boss:s").last_id() == 1


def test_long_lines_take_turns_and_one_that_never_ends_is_cut(
    serve: Callable[..., ServedHere], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PATIENCE_S", 0.1)
    served = serve("--as", "w:s", "--limit", "memory=1")  # one place
    with served.connect() as stuck, served.connect() as second, served.connect() as third:
        stuck.write(long_send(1)[:200_000].encode())
        wait_until(
            lambda: served.do(lambda: len(served.server.front.host.long_requests._holders)) == 1,
            "the place of the first",
        )
        for line in (second, third):
            line.socket.settimeout(DEADLINE_S)
            line.write(long_send(2, 150_000))

        assert [line.read()["result"]["id"] for line in (second, third)] == [1, 2]
        error = stuck.read()
        assert error["error"]["data"]["kind"] == "limit"
        assert "others wait" in error["error"]["message"]
    assert served.do(lambda: served.server.front.host.long_requests._holders) == {}


@needs_proc
@pytest.mark.process
def test_very_long_lines_of_many_connections_take_little_memory(serve: Serve) -> None:
    served = serve(
        "--as", "w:s", *(f"--limit={name}" for name in ("memory=100000000", "unfinished_bytes=0", "bytes_per_s=0"))
    )
    lines = [served.connect() for _ in range(30)]
    for line in lines:
        line.socket.setblocking(False)
    unsent = {line: memoryview(long_send(1, 3_900_000).encode()) for line in lines}
    for line, data in unsent.items():  # the first part of each
        unsent[line] = data[line.socket.send(data) :]
    for line in lines:
        line.socket.settimeout(DEADLINE_S)
    for line, data in unsent.items():
        line.socket.sendall(data)
        line.write(b"\n")
        assert "result" in line.read()
        line.close()

    assert peak_mib(served.pid) < 200


@needs_proc
@pytest.mark.process
def test_pages_that_are_not_read_leave_room_for_others_and_end_their_connection(
    serve: Serve, connect: Callable[..., BusClient]
) -> None:
    boss = connect("boss:s")
    for _ in range(8):
        boss.send("w:s", "note", "x" * 3_900_000)
    served = serve("--as", "w:s")
    peek = ("inbox", {"peek": True})
    with served.connect() as reader:
        stuck = [served.connect() for _ in range(20)]
        for line in stuck:
            for number in range(5):
                line.tell(*peek, id=number)

        def is_read() -> bool:
            reader.tell("read", {"id": 1}, id=1)
            answer = reader.read()
            assert "result" in answer or answer["error"]["data"] == {"kind": "limit", "retryable": True}
            return "result" in answer

        wait_until(is_read, "an answer for a client that reads")
        assert peak_mib(served.pid) < 256
        for line in stuck:
            line.close()


def test_a_client_that_reads_gets_all_long_answers_that_it_has_asked_for(
    serve: Serve, connect: Callable[..., BusClient]
) -> None:
    connect("boss:s").send("w:s", "note", "x" * 1_500_000)
    with serve("--as", "w:s").connect() as line:
        for number in range(40):
            line.tell("read" if number % 3 else "last_id", {"id": 1} if number % 3 else {}, id=number)
        answers = [line.read() for _ in range(40)]

    assert [answer["id"] for answer in answers] == list(range(40))
    assert all("result" in answer for answer in answers)


def test_ping_is_answered_while_long_lines_are_parsed_and_long_answers_encoded(
    serve: Callable[..., ServedHere], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: ServedHere = serve("--as", "w:s")
    with served.connect() as long, served.connect() as other:
        long.write(long_send(1, body=[1.5] * 100_000))
        wait_until(lambda: "parser" in vars(served.server.front.host), "the thread")
        assert other.ask("ping") == "pong"
        assert len(long.read()["result"]["body"]) == 100_000
        assert served.do(lambda: served.server.front.answers.held) == 0
