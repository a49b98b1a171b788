"""The connections of the bridge: what a client may hold and for how long, and what it is told."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from raven.host import service as service_module
from raven_http.server import connection as connection_module
from raven_http.server import front as front_module
from scripts.harness.deadline import Limit
from tests.http_front import FrontHere, Wire
from tests.support import DEADLINE_S, closed_at_the_end, wait_until

Serve = Callable[..., FrontHere]
TIMEOUT_S = 0.5
HUGE = 32 * 1024 * 1024


class Program:
    """Answers /echo with the length of the body, /huge with `HUGE` bytes, /stream without an end, /wait after `go`.

    /client is answered with the client's address, and /names with the names of the headers.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.go = asyncio.Event()
        self.is_stopping = asyncio.Event()

    def stop(self) -> None:
        self.is_stopping.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path, size = scope["path"], 0
        if path == "/echo":
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.seen.append("gone")
                    return
                size += len(message["body"])
                if not message["more_body"]:
                    break
            await asyncio.sleep(0)  # as a program that waits for the bus
            await asyncio.sleep(0)
        if path == "/wait":
            self.seen.append("waits")
            await self.go.wait()
        if path == "/stream":
            await send(_start([(b"content-type", b"text/event-stream; charset=utf-8")]))
            await send({"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": True})
            await self.is_stopping.wait()
            await send({"type": "http.response.body", "body": b""})
            return
        text = f"{path} {size} {scope['query_string'].decode()}" if path != "/client" else str(scope["client"])
        if path == "/names":
            text = " ".join(name.decode() for name, _ in scope["headers"])
        body = b"x" * HUGE if path == "/huge" else text.encode()
        await send(_start([(b"content-length", b"%d" % len(body))]))
        await send({"type": "http.response.body", "body": body})
        self.seen.append("answered")


def _start(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": headers}


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
def serve(db: str, program: Program, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serve the program with a short timeout."""
    monkeypatch.setattr(connection_module, "TIMEOUT_S", TIMEOUT_S)
    monkeypatch.setattr(service_module, "_TICK_S", 0.05)
    with closed_at_the_end(lambda **options: FrontHere(db, app=program, **options)) as make:
        yield make


HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
BODY = HEAD + b"Content-Length: 100000\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "status", "kind"),
    [
        ([b""], None, ""),
        ([b"\r\n"] * 40, None, ""),
        ([b"POST /ec"], 408, "request_timeout"),
        ([HEAD], 408, "request_timeout"),
        ([b"P", b"O", b"S", b"T", *[b" "] * 40], 408, "request_timeout"),
        ([BODY + b"half"], 408, "request_timeout"),
        ([BODY, *[b"x"] * 40], 408, "request_timeout"),
        ([CHUNKED + b"5\r\nhel"], 408, "request_timeout"),
        ([b"no request\r\n\r\n"], 400, "bad_request"),
        ([b"\x16\x03\x01\x02\x00\x01\x00"], 400, "bad_request"),
        ([HEAD + b"Content-Length: -1\r\n\r\n"], 400, "bad_request"),
        ([HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"], 400, "bad_request"),
        ([CHUNKED + b"zz\r\n"], 400, "bad_request"),
        ([HEAD + b"X: " + b"y" * 66_000 + b"\r\n\r\n"], 431, "head_too_large"),
        ([HEAD + b"X: y\r\n" * 20_000], 431, "head_too_large"),
        ([b"GET /" + b"y" * 100_000], 431, "head_too_large"),
        ([HEAD, *[b"X: " + b"y" * 30_000] * 4], 431, "head_too_large"),
    ],
)
def test_a_request_that_is_no_whole_one_ends_the_connection(
    serve: Serve, parts: list[bytes], status: int | None, kind: str
) -> None:
    served = serve()
    with served.connect() as wire:
        for part in parts:
            try:
                wire.write(part)
            except (BrokenPipeError, ConnectionResetError):
                break
            if len(parts) > 1:
                time.sleep(0.02)  # the pace of the client, not a wait for the server
        answer = wire.answer()

        assert (answer and answer.status) == status
        if answer is not None:
            assert json.loads(answer.body)["error"] == kind
            assert answer.body.count(b"\n") == 1
            assert answer.headers["connection"] == "close"
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert wire.rest() == b""
    wait_until(lambda: served.counts() == (0, 0, 0), "the connection to end")


def test_an_idle_connection_is_kept_for_a_while_and_its_time_begins_anew_with_each_request(serve: Serve) -> None:
    with serve().connect() as wire:
        begin = time.monotonic()
        while time.monotonic() < begin + 2 * TIMEOUT_S:
            assert wire.ask("/echo", b"four").body == b"/echo 4 "
        assert wire.rest() == b""
        assert time.monotonic() > begin + 2.9 * TIMEOUT_S


@pytest.mark.parametrize("bad", [b"nonsense\r\n\r\n", CHUNKED + b"zz\r\n"])
def test_pipelined_requests_are_answered_in_their_order_and_a_bad_one_after_them(serve: Serve, bad: bytes) -> None:
    with serve().connect() as wire:
        requests = [wire.request(f"/echo?{number}", b"x" * (number % 7 * 1000)) for number in range(400)]
        wire.write(b"".join(requests) + bad + wire.request("/echo?never", b""))

        for number in range(400):
            answer = wire.answer()
            assert answer is not None
            assert answer.body == f"/echo {number % 7 * 1000} {number}".encode()
        last = wire.answer()
        assert last is not None
        assert last.status == 400
        assert wire.rest() == b""


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
WITH_UPGRADE = HEAD + UPGRADE + b"Content-Length: 3\r\n\r\n"
TRAILERS = b"1\r\nx\r\n0\r\nHost: evil\r\nX-Late: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "bodies"),
    [
        ([(WITH_UPGRADE + b"GET") * 200], [b"/echo 3 "] * 200),
        ([WITH_UPGRADE, b"GE", b"T" + WITH_UPGRADE, b"abc"], [b"/echo 3 "] * 2),
        ([HEAD + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n", TRAILERS], [b"/echo 1 "]),
        ([b"GET /names HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n"], [b"host connection http2-settings"]),
        ([CHUNKED.replace(b"/echo", b"/names") + TRAILERS], [b"host transfer-encoding"]),
        (
            [HEAD + UPGRADE + b"Content-Length: 3\r\n\r\nabc" + b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n"],
            [b"/echo 3 "],
        ),
    ],
)
def test_neither_the_wish_for_another_protocol_nor_late_headers_change_a_request(
    serve: Serve, parts: list[bytes], bodies: list[bytes]
) -> None:
    with serve().connect() as wire:
        for part in parts:
            wire.write(part)
            time.sleep(0.02)  # so that the parts come apart
        assert [answer and answer.body for answer in (wire.answer() for _ in bodies)] == bodies


def test_a_client_of_http_1_0_gets_no_chunks(serve: Serve) -> None:
    served = serve()
    with served.connect() as wire:
        wire.write(b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = wire.answer()
        assert answer is not None
        assert (answer.body, answer.headers["connection"], wire.rest()) == (b"/echo 0 ", "close", b"")
    with served.connect() as wire:
        wire.write(b"GET /stream HTTP/1.0\r\n\r\n")
        head = wire.head()
        assert head is not None
        assert "transfer-encoding" not in head[1]
        served.close()
        assert wire.rest() == b"retry: 1000\n\n"


@pytest.mark.parametrize("turns", range(5))
def test_a_client_that_is_accepted_as_the_service_stops_does_not_hold_it_up(serve: Serve, turns: int) -> None:
    served, begin = serve(), time.monotonic()

    async def connect() -> Wire:
        wire = served.connect()
        for _ in range(turns):
            await asyncio.sleep(0)
        served.service.stop()
        return wire

    with asyncio.run_coroutine_threadsafe(connect(), served.service.loop).result(DEADLINE_S) as wire:
        served.close()
        gc.collect()  # asyncio itself forgets a client whose server ends while it makes the transport
        assert wire.rest() == b""
    assert time.monotonic() - begin < front_module._DRAIN_S


def test_pipelined_requests_that_wait_are_left_with_the_system(serve: Serve) -> None:
    served, count = serve(), 30_000
    with served.connect() as wire:
        writer = threading.Thread(target=wire.write, args=(wire.request("/echo", b"") * count,), daemon=True)
        writer.start()
        for number in range(count):
            answer = wire.answer()
            assert answer is not None
            if number % 1000 == 0:
                assert served.do(lambda: max(len(one._pending) for one in served.front._requesting)) <= 64 * 1024
        writer.join(DEADLINE_S)


def test_the_head_and_the_body_of_a_small_answer_come_in_one_piece(serve: Serve) -> None:
    with serve().connect() as wire:
        for number in range(100):
            wire.write(wire.request(f"/echo?{number}", b"x"))
            assert wire.socket.recv(4096).endswith(f"/echo 1 {number}".encode())


def test_a_client_that_writes_no_more_gets_the_answers_to_its_whole_requests(serve: Serve, program: Program) -> None:
    served = serve()
    with served.connect() as wire:
        wire.write(wire.request("/wait") + wire.request("/echo", b"two") + BODY)
        wire.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: program.seen == ["waits"], "the request")
        served.do(program.go.set)

        bodies = [answer and answer.body for answer in (wire.answer(), wire.answer())]
        assert bodies == [b"/wait 0 ", b"/echo 3 "]
        assert wire.rest() == b""
    with served.connect() as wire:
        wire.write(wire.request("/stream"))
        assert wire.head() is not None
        wire.socket.shutdown(socket.SHUT_WR)
        wire.rest()
    wait_until(lambda: served.counts() == (0, 0, 0), "the connections to end")


def test_at_the_limit_an_idle_connection_makes_room_and_a_busy_one_does_not(
    serve: Serve, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "_IDLE_S", 0.0)
    served = serve(max_connections=2)
    with served.connect() as idle, served.connect() as busy:
        assert idle.ask("/echo", b"").status == 200
        busy.write(busy.request("/wait"))
        wait_until(lambda: program.seen[-1:] == ["waits"], "the request")
        with served.connect() as third:
            third.write(third.request("/wait"))
            assert idle.rest() == b""
            wait_until(lambda: program.seen.count("waits") == 2, "the request")
            with served.connect() as fourth:
                refusal = fourth.ask("/echo", b"")
                assert (refusal.status, refusal.headers["retry-after"]) == (503, "1")
                assert "2 connections" in json.loads(refusal.body)["detail"]
                assert fourth.rest() == b""
            served.do(program.go.set)
            assert [wire.head() is not None for wire in (busy, third)] == [True, True]


def test_a_connection_that_has_made_room_ends_also_if_its_client_does_not_read(
    serve: Serve, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "_IDLE_S", -1.0)
    served = serve(max_connections=1)
    with served.connect() as deaf, ExitStack() as stack:
        deaf.write(deaf.request("/huge"))
        wait_until(lambda: program.seen == ["answered"], "the answer")
        assert stack.enter_context(served.connect()).ask("/echo", b"").status == 200
        wait_until(lambda: served.counts() == (0, 0, 0), "the end")
        assert len(deaf.rest()) < HUGE


def test_event_streams_take_no_places_of_requests_and_end_when_the_service_stops(serve: Serve) -> None:
    served = serve(max_connections=2)
    with ExitStack() as stack:
        streams = []
        for number in range(10):
            stream = stack.enter_context(served.connect())
            streams.append(stream)
            stream.write(stream.request("/stream"))
            head = stream.head()
            assert head is not None
            assert head[0] == 200
            wait_until(lambda expected=number + 1: served.counts()[1] == expected, "the stream")
        time.sleep(2 * TIMEOUT_S)  # a quiet stream stays
        assert served.counts()[1] == 10
        with served.connect() as wire:
            assert wire.ask("/echo", b"1").status == 200
        begin = time.monotonic()
        served.close()

        assert all(stream.rest().endswith(b"0\r\n\r\n") for stream in streams)
        assert time.monotonic() - begin < Limit(2)


def test_a_client_that_goes_or_does_not_read_holds_no_place(
    serve: Serve, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve()
    with served.connect() as gone:
        gone.write(BODY + b"half")
        wait_until(lambda: served.counts() == (1, 0, 0), "the connection")
    wait_until(lambda: program.seen == ["gone"], "the program to learn of it")
    with served.connect() as deaf:
        deaf.write(deaf.request("/huge"))
        wait_until(lambda: program.seen[-1:] == ["answered"], "the answer")
        wait_until(lambda: served.counts() == (0, 0, 0), "the end")
        assert len(deaf.rest()) < HUGE
    patience_s = 3 * TIMEOUT_S
    monkeypatch.setattr(connection_module, "TIMEOUT_S", patience_s)
    with served.connect() as slow:
        slow.write(slow.request("/huge"))
        head, read = slow.head(), 0
        while read < HUGE:  # for longer than the timeout
            part = slow._read.read1(HUGE // 32)
            assert part, "the connection has ended"
            read += len(part)
            time.sleep(2 * patience_s * len(part) / HUGE)
        assert head is not None
        assert slow.ask("/echo", b"").status == 200


def test_another_user_of_a_unix_socket_is_refused(serve: Serve, db: str) -> None:
    served = serve(address=f"unix:{db}.http")
    with served.connect() as own:
        assert own.ask("/echo", b"").status == 200
    served.front.allowed_uids = frozenset({1})
    with Wire(served.front.address) as other:
        assert other.ask("/echo", b"").status == 403


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_the_app_tells_connections_apart(db: str, kind: str) -> None:
    address = "127.0.0.1:0" if kind == "tcp" else f"unix:{db}.http"
    with closed_at_the_end(FrontHere) as serve:
        served = serve(db, app=Program(), address=address)
        with served.connect() as first, served.connect() as second:
            clients = [wire.ask("/client").body for wire in (first, second, first, second)]

    assert clients[:2] == clients[2:]
    assert clients[0] != clients[1]
