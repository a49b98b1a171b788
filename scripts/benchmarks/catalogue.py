"""Catalogue: every benchmark by its name, in the order of the table."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple

from scripts.benchmarks.figure import Figure


class Benchmark(NamedTuple):
    """Where a benchmark stands (`module.function`, below this package), and what it measures."""

    place: str
    what: str

    def run(self, folder: Path, quick: bool) -> list[Figure]:
        """Measure, in an empty folder; imported only now, so that a peer that is missing hides nothing else."""
        module, _, function = self.place.rpartition(".")
        found: list[Figure] = getattr(importlib.import_module(f"scripts.benchmarks.{module}"), function)(folder, quick)
        return found


BENCHMARKS = {
    "send": Benchmark("send.run", "one small message after the other, against the same inserts in bare apsw"),
    "send-many": Benchmark("send.run_many", "a hundred in one transaction, against the same in bare apsw"),
    "trip": Benchmark("trip.run", "send + claim + ack, against the same in litequeue, huey, Redis and others"),
    "large": Benchmark("trip.run_large", "send + claim + ack of 200 kB bodies, against bare apsw"),
    "history": Benchmark("history.run", "send, claim, ack and inbox with 1,000,000 finished messages in the file"),
    "drain": Benchmark("drain.run", "a backlog through subscribe(), in one process and in four"),
    "producers": Benchmark("producers.run", "sixteen processes that send at once"),
    "broadcast": Benchmark("broadcast.run", "one message of 20 kB to 100 identities"),
    "wake": Benchmark("wake.run_one", "send in one process to its delivery in another"),
    "ping-pong": Benchmark("pingpong.run", "a message and its answer between two processes"),
    "crowd": Benchmark("wake.run_crowd", "500 messages/s to random ones of 100 waiting processes"),
    "idle": Benchmark("idle.run", "what waiting costs while nothing happens"),
    "outbox": Benchmark("outbox.run", "INSERT INTO outbox by the sqlite3 program to its delivery"),
    "durability": Benchmark("durability.run", 'what durability="full" costs'),
    "anatomy": Benchmark("anatomy.run", "the parts of one send, one claim and one ack"),
    "syscalls": Benchmark("syscalls.run", "system calls of one operation, beside those of bare apsw and other queues"),
    "memory": Benchmark("memory.run", "what a client, a subscriber and the helper hold"),
    "wal": Benchmark("wal.run", "the size of the WAL under constant load"),
    "startup": Benchmark("startup.run", "the command line and `import raven`, as whole processes"),
    "rpc-trip": Benchmark("rpc.run_trip", "send through the helper, against a bare asyncio echo"),
    "rpc-group": Benchmark("rpc.run_group", "eight clients that pipeline sends"),
    "rpc-wake": Benchmark("rpc_mail.run_wake", "send to the line in hand of a subscriber on the socket"),
    "rpc-idle": Benchmark("rpc_mail.run_idle", "200 connections that wait for mail"),
    "rpc-stall": Benchmark("rpc_mail.run_stall", "the helper's memory while a reader stalls"),
}
