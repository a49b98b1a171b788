"""Limits: long lines, large batches, many connections, and readers that do not read."""

from __future__ import annotations

import contextlib
import json
import resource
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import pytest

from raven import BusClient
from raven.host import host
from raven_rpc.jsonrpc import messages
from raven_rpc.jsonrpc.messages import MAX_BATCH, MAX_REQUEST
from raven_rpc.server import responses
from raven_rpc.server.front import MAX_CONNECTIONS
from tests.processes import needs_proc, open_files, peak_mib, resident_mib
from tests.rpc_server import Line, Served
from tests.support import DEADLINE_S, wait_until
from tests.thread_server import ServedHere

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
LIMIT = 4096


def refusal(line: Line, data: bytes | None = None) -> Any:
    """Return the error of the next answer, which must be about a limit and have no id."""
    answer = line.read() if data is None else json.loads(data)
    assert answer is not None, "the connection ended"
    assert (answer["id"], answer["error"]["data"]["kind"]) == (None, "limit"), answer
    return answer["error"]


def all_of(line: Line) -> bytes:
    """Return the bytes up to the end, from a descriptor that may be too high for `select`."""
    return b"".join(iter(lambda: line.socket.recv(10_000), b""))


def ping(size: int) -> bytes:
    """Return a ping of `size` bytes, without a newline."""
    return json.dumps({"jsonrpc": "2.0", "method": "ping", "id": 1}).encode().ljust(size)


@contextlib.contextmanager
def many(served: Served, count: int) -> Iterator[list[Line]]:
    """Open many connections, with a sufficient limit of descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this process may have {hard} descriptors, and {wanted} are needed")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        yield [stack.enter_context(served.connect()) for _ in range(count)]


def test_a_line_of_just_the_limit_is_answered(serve: Serve) -> None:
    with serve("--max-request", str(LIMIT)).connect() as line:
        line.write(ping(LIMIT) + b"\n" + ping(LIMIT))
        line.half_close()

        assert [line.read()["result"], line.read()["result"], line.read()] == ["pong", "pong", None]


@pytest.mark.parametrize("excess", [1, 1000, 100_000, 3_000_000])
def test_a_line_over_the_limit_is_one_error_and_the_connection_goes_on(serve: Serve, excess: int) -> None:
    with serve("--max-request", str(LIMIT)).connect() as line:
        line.write(b"x" * (LIMIT + excess) + b"\n" + ping(LIMIT) + b"\n")

        error = refusal(line)
        assert (error["message"], error["data"]["retryable"]) == (
            f"a request is over the limit of {LIMIT:,} bytes: send less at once",
            False,
        )
        assert line.read()["result"] == "pong"
        assert line.ask("ping") == "pong"


def test_a_line_over_the_limit_without_its_newline_and_the_end_is_one_error(serve: Serve) -> None:
    with serve("--max-request", str(LIMIT)).connect() as line:
        line.write(ping(0) + b"\n" + b"x" * 10 * LIMIT)
        line.half_close()

        assert line.read()["result"] == "pong"
        refusal(line)
        assert line.read() is None


def test_lines_over_the_limit_are_answered_in_their_order_among_others(serve: Serve) -> None:
    with serve("--max-request", str(LIMIT)).connect() as line:
        long = b"[" + b"1," * LIMIT + b"1]\n"
        line.write((ping(0) + b"\n" + long) * 20)

        for _ in range(20):
            assert line.read()["result"] == "pong"
            refusal(line)


@needs_proc
@pytest.mark.process
def test_a_line_that_never_ends_is_not_kept(serve: Serve) -> None:
    served = serve()
    with served.connect() as line:
        for _ in range(64):
            line.write(b"x" * 2**20)
        refusal(line)

        assert peak_mib(served.pid) < 40 + 4 * MAX_REQUEST / 2**20
        line.write(b"\n")
        assert line.ask("ping") == "pong"


def test_a_batch_of_10_000_is_answered_one_by_one_in_one_array(serve: Serve, connect: Connect) -> None:
    elements = [
        {"jsonrpc": "2.0", "method": "send", "params": ["boss:s", "worker:s", "note", n], "id": n}
        if n % 2
        else {"jsonrpc": "2.0", "method": "ping", "id": n}
        for n in range(10_000)
    ]
    served = serve()
    with served.connect() as line:
        line.write(json.dumps(elements))
        assert served.ask("ping") == "pong"

        answers = line.read(3 * DEADLINE_S)

    assert sorted(answer["id"] for answer in answers) == list(range(10_000))
    assert all("result" in answer for answer in answers)
    bodies = [message.body for message in connect("worker:s").inbox(max=10_000)]
    assert bodies == list(range(1, 10_000, 2))


@needs_proc
@pytest.mark.process
def test_a_batch_over_the_limit_is_one_error_and_nothing_of_it_is_done(serve: Serve) -> None:
    served = serve()
    send = '{"jsonrpc":"2.0","method":"send","params":["a:s","b:s","note"]}'
    with served.connect() as line:
        line.write(f"[{send},{'1,' * MAX_BATCH}1]")

        answer = line.read()
        assert isinstance(answer, dict)
        assert answer["error"]["data"]["kind"] == "limit"
        assert line.ask("last_id") == {"id": 0}
    assert peak_mib(served.pid) < 120


@needs_proc
@pytest.mark.parametrize(
    "params",
    [
        {"tags": [1] * 1_000_000},
        {"to": [1] * 1_000_000},
        {f"x{number}": 1 for number in range(500_000)},
    ],
    ids=["tags", "to", "unknown"],
)
@pytest.mark.process
@pytest.mark.slow
def test_a_million_wrong_elements_are_one_error_and_no_memory(serve: Serve, params: dict[str, Any]) -> None:
    served = serve()
    with served.connect() as line:
        error = line.error("send", {"from": "a:s", "to": "b:s", "type": "note", **params})

        assert (error["code"], len(error["message"]) < 1000) == (-32602, True)
    assert peak_mib(served.pid) < 300


@needs_proc
@pytest.mark.process
def test_of_2_000_connections_1_000_are_accepted_and_the_others_get_a_retryable_error(serve: Serve) -> None:
    served = serve()
    served.ask("stats")  # which opens a connection to the bus of its own
    before = open_files(served.pid)
    assert MAX_CONNECTIONS == 1000

    with many(served, 2000) as lines:
        inside, outside = lines[:1000], lines[1000:]
        for line in outside:
            error = refusal(line, all_of(line))
            assert (error["data"]["retryable"], "1,000 connections are open" in error["message"]) == (True, True)
        for line in inside:
            line.tell("ping", id=1)
        assert [json.loads(line.socket.recv(1000))["result"] for line in inside] == ["pong"] * 1000
        assert inside[0].ask("stats")["connections"] == 1000

        for line in inside[500:]:
            line.close()
        wait_until(lambda: inside[0].ask("stats")["connections"] == 500, "the end of 500 connections")
        with many(served, 500) as others:
            for line in others:
                line.tell("ping", id=1)
            assert [json.loads(line.socket.recv(1000))["result"] for line in others] == ["pong"] * 500

    wait_until(lambda: served.ask("stats")["connections"] == 1, "the end of all connections")
    wait_until(lambda: open_files(served.pid) <= before, "its descriptors")


def test_a_connection_over_the_limit_that_has_sent_a_request_gets_the_error(serve: Serve) -> None:
    served = serve("--max-connections", "1")
    with served.connect() as first:
        first.ask("ping")
        for _ in range(50):
            with served.connect() as line:
                with contextlib.suppress(OSError):
                    line.tell("send", ["boss:s", "worker:s", "note"], id=1)
                assert refusal(line)["data"]["retryable"]
                assert line.read() is None
        assert first.ask("last_id") == {"id": 0}


@needs_proc
@pytest.mark.parametrize("subscribe", [("subscribe", {"ack": "auto"}), ("tail", {})])
@pytest.mark.process
def test_a_subscriber_that_never_reads_blocks_no_client_and_takes_no_memory(
    serve: Serve, connect: Connect, subscribe: tuple[str, Any]
) -> None:
    boss, body = connect("boss:s"), "x" * 10_000
    boss.send_many([{"to": "worker:s", "type": "note", "body": body}] * 3000)
    served = serve()
    served.ask("ping")
    before = resident_mib(served.pid)
    with served.connect() as stalled:
        method, params = subscribe
        stalled.ask(method, {"role": "worker:s", **params})
        wait_until(lambda: served.ask("stats")["pushed"], "the first messages")

        with served.connect() as other:
            other.ask("subscribe", {"role": "other:s"})
            for number in range(100):
                other.ask("send", ["boss:s", "other:s", "note", number])
            assert [other.push()["message"]["body"] for _ in range(100)] == list(range(100))

        assert served.ask("stats")["pushed"] < 1000
        assert resident_mib(served.pid) - before < 20


@needs_proc
@pytest.mark.process
def test_responses_to_a_client_that_does_not_read_do_not_pile_up(serve: Serve) -> None:
    served = serve()
    message = served.ask("send", ["boss:s", "worker:s", "note", "x" * 500_000])
    read = json.dumps({"jsonrpc": "2.0", "method": "read", "params": [message["id"]], "id": 1})
    with served.connect() as stalled, served.connect() as other:
        stalled.write("\n".join([read] * 250))
        assert not stalled.is_silent(DEADLINE_S)
        # Earlier jobs of the reader are done when this is answered.
        other.ask("last_id")

        assert peak_mib(served.pid) < 100
        assert stalled.read()["result"]["id"] == message["id"]
        assert len({stalled.read_line() for _ in range(249)}) == 1


@pytest.mark.parametrize("depth", [0, 200_000])
def test_a_result_that_json_cannot_hold_is_answered_with_an_internal_error(depth: int) -> None:
    value: Any = reduce(lambda inner, _: [inner], range(depth), object() if not depth else None)

    response = json.loads(responses.encode(7, messages.success(7, value)))

    assert (response["id"], response["error"]["code"]) == (7, messages.INTERNAL_ERROR)


def test_a_batch_whose_answers_come_to_too_much_has_errors_in_the_place_of_the_last(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE", 3000)
    with serve().connect() as line:
        line.ask("send", {"from": "a:s", "to": "b:s", "type": "note", "body": "x" * 1500})

        line.write(json.dumps([messages.request(id, "read", [1]) for id in (1, 2)]))

        first, second = line.read()
        assert first["result"]["id"] == 1
        assert second["error"]["data"]["kind"] == "limit"


def test_a_server_that_has_written_as_very_many_addresses_forgets_them(
    serve: Callable[..., ServedHere], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_MAX_CLIENTS", 2)
    served = serve()
    with served.connect() as line:
        sent = [line.ask("send", [f"{role}:s", "z:s", "note"])["sender"] for role in "abcab"]

    assert sent == ["a:s", "b:s", "c:s", "a:s", "b:s"]
    assert len(served.server.front.host._clients) <= 2
