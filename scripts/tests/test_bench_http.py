"""The parts of the HTTP benchmarks: their servers, their clients, and how these read answers."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Literal

import pytest

from scripts.benchmarks.http import page
from scripts.benchmarks.http.client import Answers, EventStream
from scripts.benchmarks.http.process import HttpServer
from scripts.benchmarks.http.requests import http_rate, p50_us
from scripts.benchmarks.row_count import count_rows
from scripts.benchmarks.rpc import CLIENTS, PARAMS, Way, rate
from scripts.benchmarks.server_process import ServerProcess
from scripts.harness.deadline import wait_until


@pytest.mark.parametrize("kind", ["raven", "bare"])
def test_each_send_of_a_round_and_of_the_clients_is_stored(kind: Literal["raven", "bare"], tmp_path: Path) -> None:
    with HttpServer(tmp_path, kind) as server:
        assert p50_us(server.endpoint, server.endpoint.post("/send", PARAMS), 3) > 0
        assert http_rate(server.endpoint, 5, "pipelined") > 0
        assert http_rate(server.endpoint, 5, "one-by-one") > 0

        assert count_rows(server.db, "messages") == count_rows(server.db, "deliveries") == 3 + 2 * CLIENTS * 5


@pytest.mark.parametrize("way", ["pipelined", "one-by-one"])
def test_each_send_of_the_clients_of_the_socket_is_stored(way: Way, tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        assert rate(server, 5, way) > 0

        assert count_rows(server.db, "messages") == CLIENTS * 5


def test_a_refused_request_ends_the_benchmark_with_the_answer(tmp_path: Path) -> None:
    with HttpServer(tmp_path) as server, pytest.raises(RuntimeError, match=r"responded HTTP/1\.1 422"):
        p50_us(server.endpoint, server.endpoint.post("/send", {**PARAMS, "to": 7}), 1)


def test_answers_are_told_apart_however_they_arrive() -> None:
    bodies = [b"", b"one", json.dumps({"text": "HTTP/1.1 200 OK\r\n\r\n"}).encode()]
    stream = b"".join(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body) for body in bodies)
    for size in (1, 7, len(stream)):
        near, far = socket.socketpair()
        with near, far:
            answers = Answers(near)
            for start in range(0, len(stream), size):
                far.sendall(stream[start : start + size])
            far.shutdown(socket.SHUT_WR)

            assert [answers.next() for _ in bodies] == bodies
            with pytest.raises(RuntimeError, match="closed the connection"):
                answers.next()


def test_a_stream_waits_for_the_event_of_a_message_however_it_arrives() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(b"HTTP/1.1 200 OK\r\n\r\nretry: 1000\n\n")
        stream = EventStream(near, b"GET /events HTTP/1.1\r\n\r\n")
        for part in (b"event: message\nid: 121.4\ndata: id: 12.3\n\nevent: message\ni", b"d: 12.", b"5\ndata: {}\n\n"):
            far.sendall(part)
        far.shutdown(socket.SHUT_WR)

        stream.wait_for(12)

        with pytest.raises(RuntimeError, match="closed the connection"):
            stream.wait_for(121)


def test_the_traffic_of_the_page_is_acked_as_it_is_sent(tmp_path: Path) -> None:
    db = str(tmp_path / "bus.db")
    with page.Traffic(db) as traffic:
        wait_until(lambda: traffic.sent >= 3, "three messages")

    assert count_rows(db, "messages") == count_rows(db, "deliveries WHERE state = 2") == traffic.sent
    assert traffic.elapsed_s > 0.02


def test_without_chromium_the_page_is_left_out_with_a_line_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert page.run(tmp_path, True) == []
    assert capsys.readouterr().err == "http-page is left out: it needs Chromium and `pip install playwright`\n"
