"""The helper: its round trip, group commit, its wake, its idle cost, and its memory when a reader stalls."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from raven import BusClient
from scripts.benchmarks.result import Result, percentile, ratio
from scripts.benchmarks.served import Served, pause, request, wait_for_answer

_PARAMS = {"from": "alice:bench", "to": "bob:bench", "type": "work", "body": {"text": "x" * 180}}
_CLIENTS = 8
_IDLE = 200
_BACKLOG = 100_000


def run_trip(folder: Path, quick: bool) -> list[Result]:
    """One client, `send` after `send`, against a bare asyncio server that echoes the same lines."""
    rounds, batch = (8, 200) if quick else (20, 500)
    line = request(1, "send", _PARAMS)
    sends, echoes = [], []
    with Served(folder) as helper, Served(folder, "echo") as echo:
        for _ in range(rounds):
            sends.append(_p50_us(helper, line, batch))
            echoes.append(_p50_us(echo, line, batch))
    times = ratio(sends, echoes)
    figure = f"{times:.2f} times ({statistics.median(sends):.0f} us, {statistics.median(echoes):.0f} us)"
    return [Result("rpc: round trip of send against a bare asyncio echo, p50", figure, "at most 4 times", times <= 4)]


def run_group(folder: Path, quick: bool) -> list[Result]:
    """Eight client processes that pipeline sends, with group commit and without, alternating."""
    rounds, count = (3, 1000) if quick else (7, 2000)
    grouped, alone = [], []
    with Served(folder) as helper, Served(folder, "alone") as loner:
        for _ in range(rounds):
            grouped.append(_rate(helper, count))
            alone.append(_rate(loner, count))
    rate, times = statistics.median(grouped), ratio(grouped, alone)
    what = f"rpc: {_CLIENTS} clients that pipeline sends:"
    return [
        Result(f"{what} committed", f"{rate:,.0f} requests/s", "at least 5,000 requests/s", rate >= 5000),
        Result(f"{what} against no group commit", f"{times:.2f} times", "at least 2 times", times >= 2),
    ]


def run_wake(folder: Path, quick: bool) -> list[Result]:
    """Time a message from the send of a direct Python client to the line in hand of a subscriber on the socket."""
    count = 200 if quick else 1000
    latencies = []
    with Served(folder) as helper, BusClient.at("alice:bench", helper.db) as bus, helper.connect() as line:
        line.sendall(request(1, "subscribe", {"role": "bob:bench"}))
        wait_for_answer(line)
        for _ in range(count):
            time.sleep(0.005)
            sent = time.perf_counter()
            bus.send("bob:bench", "tick")
            wait_for_answer(line)
            latencies.append(1000 * (time.perf_counter() - sent))
    p50 = percentile(latencies, 50)
    figure = f"p50 {p50:.2f} ms, p99 {percentile(latencies, 99):.2f} ms"
    return [Result("rpc: wake of a subscriber on the socket", figure, "p50 at most 1 ms", p50 <= 1)]


def run_idle(folder: Path, quick: bool) -> list[Result]:
    """200 connections that wait for mail."""
    seconds = 10 if quick else 30
    with Served(folder) as helper:
        connections = [helper.connect() for _ in range(_IDLE)]
        for number, connection in enumerate(connections):
            connection.sendall(request(1, "subscribe", {"role": f"worker-{number}:bench"}))
            wait_for_answer(connection)
        pause(2)
        before = helper.cpu_s()
        elapsed = pause(seconds)
        cpu, memory = 100 * (helper.cpu_s() - before) / elapsed, helper.memory_mib()
        for connection in connections:
            connection.close()
    what = f"rpc: {_IDLE} subscribed connections, idle:"
    return [
        Result(f"{what} CPU", f"{cpu:.2f} %", "at most 1.5 %", cpu <= 1.5),
        Result(f"{what} memory", f"{memory:.0f} MiB", "at most 120 MiB", memory <= 120),
    ]


def run_stall(folder: Path, quick: bool) -> list[Result]:
    """Let a subscriber with a long backlog read nothing."""
    with Served(folder) as helper, BusClient.at("alice:bench", helper.db) as bus, helper.connect() as line:
        message = {"to": "bob:bench", "type": "work", "body": {"text": "x" * 180}}
        for _ in range(_BACKLOG // 1000):
            bus.send_many([message] * 1000)
        line.sendall(request(1, "ping", []))
        wait_for_answer(line)
        before = helper.memory_mib()
        line.sendall(request(2, "subscribe", {"role": "bob:bench", "window": 10_000}))
        peak = before
        for _ in range(20 if quick else 100):
            pause(0.1)
            peak = max(peak, helper.memory_mib())
        waiting = next(peer.pending for peer in bus.peers() if peer.address == "bob:bench")
    grown = peak - before
    figure = f"grows by {grown:.1f} MiB ({waiting:,} still in the store)"
    return [Result(f"rpc: memory while a reader of {_BACKLOG:,} stalls", figure, "less than 20 MiB", grown < 20)]


def _p50_us(served: Served, line: bytes, count: int) -> float:
    times = []
    with served.connect() as connection:
        for _ in range(count):
            start = time.perf_counter()
            connection.sendall(line)
            wait_for_answer(connection)
            times.append(1e6 * (time.perf_counter() - start))
    return percentile(times, 50)


def _rate(served: Served, count: int) -> float:
    """Let all clients send `count` messages each, and return how many were committed per second together."""
    program = [sys.executable, "-m", "scripts.benchmarks.pipeliner", served.path, str(count), json.dumps(_PARAMS)]
    clients = [
        subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(_CLIENTS)
    ]
    for client in clients:
        _line_of(client)
    for client in clients:
        print("go", file=client.stdin, flush=True)
    spans = [tuple(json.loads(_line_of(client))) for client in clients]
    for client in clients:
        client.communicate()
    return _CLIENTS * count / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def _line_of(client: subprocess.Popen[str]) -> str:
    line = client.stdout.readline() if client.stdout else ""
    if not line:
        raise RuntimeError("a client of the benchmark has ended")
    return line
