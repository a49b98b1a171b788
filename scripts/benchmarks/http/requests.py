"""Requests over HTTP: the round trip of one client, and the rate of eight clients beside that of the socket."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

from scripts.benchmarks.http.client import Answers, Endpoint
from scripts.benchmarks.http.process import HttpServer
from scripts.benchmarks.interleave import interleave_sides
from scripts.benchmarks.metric import Metric, at_least, at_most, percentile
from scripts.benchmarks.rpc import CLIENTS, PARAMS, Way, rate, rate_of
from scripts.benchmarks.server_process import ServerProcess


def run_round_trip(folder: Path, quick: bool) -> list[Metric]:
    """Measure one client, which sends requests one by one, against a bare program that makes the same inserts."""
    rounds, batch = (8, 200) if quick else (20, 500)
    with HttpServer(folder) as server, HttpServer(folder, "bare") as bare:
        send, health = server.endpoint.post("/send", PARAMS), server.endpoint.get("/health")
        sides = interleave_sides(
            {
                "POST /send": partial(p50_us, server.endpoint, send, batch),
                "bare Starlette": partial(p50_us, bare.endpoint, bare.endpoint.post("/send", PARAMS), batch),
                "GET /health": partial(p50_us, server.endpoint, health, batch),
            },
            rounds,
            "us",
            notes={"bare Starlette": "on uvicorn; it parses the request and makes a send's inserts in bare apsw"},
        )
    ours, bare_send, health_check = sides.values()
    name = "HTTP: round trip of POST /send against a bare Starlette program with the same inserts, p50"
    return [
        Metric.ratio(name, ours, bare_send, at_most(1.5)),
        Metric.ratio("HTTP: round trip of GET /health against the same, p50", health_check, bare_send),
    ]


def run_group(folder: Path, quick: bool) -> list[Metric]:
    """Measure eight client processes, over HTTP and over the socket: each pipelines its sends, or sends one by one."""
    rounds, count = (3, 500) if quick else (7, 1000)
    with HttpServer(folder) as server, ServerProcess(folder) as socket:
        sides = interleave_sides(
            {
                "HTTP": partial(http_rate, server.endpoint, count, "pipelined"),
                "socket": partial(rate, socket, 2 * count),
                "HTTP, one by one": partial(http_rate, server.endpoint, count, "one-by-one"),
                "socket, one by one": partial(rate, socket, count, "one-by-one"),
            },
            rounds,
            "requests/s",
        )
    piped, socket_piped, single, socket_single = sides.values()
    name = f"HTTP: {CLIENTS} clients"
    return [
        Metric.ratio(f"{name} that pipeline sends, against as many on the socket", piped, socket_piped, at_least(0.4)),
        Metric.ratio(f"{name} that send one by one, against as many on the socket", single, socket_single),
    ]


def p50_us(endpoint: Endpoint, request: bytes, count: int) -> float:
    """Return the median time of a request, in microseconds, over one new connection."""
    times = []
    with endpoint.connect() as connection:
        answers = Answers(connection)
        for _ in range(count):
            begin = time.perf_counter()
            connection.sendall(request)
            answers.next()
            times.append((time.perf_counter() - begin) * 1e6)
    return percentile(times, 50)


def http_rate(endpoint: Endpoint, count: int, way: Way) -> float:
    """Send `count` messages from each client, and return the total rate of commits per second."""
    client = ("http.load", way, str(endpoint.port), endpoint.token, str(count), json.dumps(PARAMS))
    return rate_of([client] * CLIENTS, count)
