"""Catalogue: every benchmark by its name, in the order of the table."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple

from scripts.benchmarks.metric import Metric


class Benchmark(NamedTuple):
    """The function of a benchmark (`module.function` in this package), and a description of one line."""

    function: str
    description: str

    def run(self, folder: Path, quick: bool) -> list[Metric]:
        """Measure in an empty folder; the import happens here, so that a missing peer affects no other benchmark."""
        module, _, function = self.function.rpartition(".")
        run = getattr(importlib.import_module(f"scripts.benchmarks.{module}"), function)
        metrics: list[Metric] = run(folder, quick)
        return metrics


BENCHMARKS = {
    "send": Benchmark("send.run", "small messages one by one, against the same inserts in bare apsw"),
    "send-many": Benchmark("send.run_many", "a hundred messages in one transaction, against the same in bare apsw"),
    "round-trip": Benchmark("round_trip.run", "send + claim + ack, against litequeue, huey, Redis and others"),
    "large": Benchmark("round_trip.run_large", "send + claim + ack of 200 kB bodies, against bare apsw"),
    "history": Benchmark("history.run", "send, claim, ack and inbox with 1,000,000 finished messages in the file"),
    "drain": Benchmark("drain.run", "a backlog through subscribe(), in one process and in four"),
    "producers": Benchmark("producers.run", "sixteen processes that send at once"),
    "broadcast": Benchmark("broadcast.run", "one message of 20 kB to 100 identities"),
    "wake": Benchmark("wake.run_one", "send in one process to its delivery in another"),
    "ping-pong": Benchmark("pingpong.run", "a message and its answer between two processes"),
    "many-subscribers": Benchmark("wake.run_many", "500 messages/s to random ones of 100 waiting processes"),
    "idle": Benchmark("idle.run", "the CPU time of waiting subscribers on an idle bus"),
    "outbox": Benchmark("outbox.run", "INSERT INTO outbox by the sqlite3 program to its delivery"),
    "durability": Benchmark("durability.run", 'the cost of durability="full"'),
    "breakdown": Benchmark("breakdown.run", "the parts of one send, one claim and one ack"),
    "syscalls": Benchmark("syscalls.run", "system calls of one operation, of raven, bare apsw and other queues"),
    "memory": Benchmark("memory.run", "the memory of a client, a subscriber and the server"),
    "wal": Benchmark("wal.run", "the size of the WAL under constant load"),
    "startup": Benchmark("startup.run", "the command line and `import raven`, as whole processes"),
    "rpc-round-trip": Benchmark("rpc.run_round_trip", "send through the server, against a bare asyncio echo"),
    "rpc-group": Benchmark("rpc.run_group", "eight clients that pipeline sends"),
    "rpc-wake": Benchmark("rpc_mail.run_wake", "send to the line in hand of a subscriber on the socket"),
    "rpc-idle": Benchmark("rpc_mail.run_idle", "200 connections that wait for mail"),
    "rpc-stall": Benchmark("rpc_mail.run_stall", "the memory of the server while a reader stalls"),
    "http-round-trip": Benchmark("http.requests.run_round_trip", "POST /send, against a bare Starlette program"),
    "http-group": Benchmark("http.requests.run_group", "eight clients that send over HTTP, and over the socket"),
    "http-wake": Benchmark("http.events.run_wake", "send to the event in hand of an HTTP client"),
    "http-idle": Benchmark("http.events.run_idle", "200 event streams on an idle bus"),
    "http-page": Benchmark("http.page.run", "the live page with 10,000 messages and 100 new ones each second"),
    "link-latency": Benchmark("link.mail.run_latency", "send on one host to its delivery on another, over a link"),
    "link-throughput": Benchmark("link.mail.run_throughput", "messages over a link, against one host and JetStream"),
    "link-receipt": Benchmark("link.mail.run_receipt", "send on one host to its receipt from another"),
    "link-local": Benchmark("link.relay.run_local", "send + claim + ack on a bus with a link, by CPU time"),
    "link-idle": Benchmark("link.relay.run_idle", "the CPU time and the memory of a relay that waits"),
    "link-drain": Benchmark("link.outage.run", "10,000 messages after an outage of 120 s, and local mail meanwhile"),
    "mcp-start": Benchmark("mcp.start.run", "raven mcp from spawn to connected, against a server of the official SDK"),
    "mcp-memory": Benchmark("mcp.idle.run_memory", "the memory of an idle raven mcp, beside the SDK's server"),
    "mcp-size": Benchmark("mcp.tools.run_size", "the bytes of tools/list and of the instructions"),
    "mcp-round-trip": Benchmark("mcp.tools.run_round_trip", "the tool send, beside the SDK's server"),
    "mcp-wake": Benchmark("mcp.tools.run_wake", "send by another process to the answer of a waiting inbox"),
    "mcp-hook": Benchmark("mcp.hook.run", "a hook through the server, by a flag file, and as a process"),
    "mcp-idle": Benchmark("mcp.idle.run_idle", "the CPU time of a server on an idle bus"),
}
