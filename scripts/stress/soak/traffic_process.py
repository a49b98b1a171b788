"""Play one part of a soak until told to stop: `python -m scripts.stress.soak.traffic_process PART DB SOCKET`.

A job that is sent is noted in a table of its own, in the same transaction, and struck out in the one that acks it: in
the end nothing is left there and nothing was struck out twice, whoever is killed when. The process prints a line when
it is ready, and ends when it reads one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from raven import BusClient, RavenError, WaitTimeoutError

TABLES = ("CREATE TABLE soak_open (job TEXT PRIMARY KEY)", "CREATE TABLE soak_duplicated (job TEXT)")
_PAUSE_S = 0.012
_RETENTION = {"max_messages": 1000}
_over = threading.Event()


def produce(db: str, socket: str) -> None:
    """Send jobs that are counted, and now and then a broadcast, a delayed and an expiring message."""
    bus = BusClient.at(f"producer-{os.getpid()}:soak", db, retention=_RETENTION, busy_timeout_s=30, register=False)
    number = 0
    while not _over.wait(_PAUSE_S):
        number += 1
        job = f"{os.getpid()}-{number}"
        with bus.transaction() as tx:
            tx.send("worker:soak", "job", {"job": job, "text": "x" * (number * 37 % 1500)})
            tx.execute("INSERT INTO soak_open (job) VALUES (?)", (job,))
        if number % 10 == 0:
            bus.send("*:soak", "note", number, urgency="fyi", expires_in_s=5)
        if number % 25 == 0:
            bus.send("reader:soak", "later", number, delay_s=0.5, tags=["late"])


def work(db: str, socket: str) -> None:
    """Do each job exactly once, and give one in a hundred back first."""
    bus = BusClient.at("worker:soak", db, max_attempts=100, busy_timeout_s=30)
    while not _over.is_set():
        for msg in bus.listen(ack="manual", lease_s=3, timeout_s=1):
            if msg.id % 100 == 0 and msg.attempts == 1:
                bus.nack(msg.id, reason="one in a hundred")
                continue
            with bus.transaction() as tx:
                tx.ack(msg.id)
                if msg.type == "job":
                    job = (msg.body["job"],)
                    if not tx.execute("DELETE FROM soak_open WHERE job = ? RETURNING 1", job):
                        tx.execute("INSERT INTO soak_duplicated (job) VALUES (?)", job)
            if _over.is_set():
                break


def read(db: str, socket: str) -> None:
    """Take mail at most once, under asyncio."""

    async def take() -> None:
        with BusClient.at("reader:soak", db, busy_timeout_s=30) as bus:
            async for _ in bus.subscribe():
                pass

    async def take_until_over() -> None:
        task = asyncio.create_task(take())
        await asyncio.to_thread(_over.wait)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(take_until_over())


def ask(db: str, socket: str) -> None:
    """Ask a question and wait for its answer, again and again."""
    bus = BusClient.at(f"asker-{os.getpid()}:soak", db, register=False, busy_timeout_s=30)
    while not _over.wait(_PAUSE_S * 3):
        try:
            bus.request("answerer:soak", "question", os.getpid(), timeout_s=5)
        except WaitTimeoutError:
            continue


def answer(db: str, socket: str) -> None:
    """Answer questions."""
    bus = BusClient.at("answerer:soak", db, busy_timeout_s=30)
    while not _over.is_set():
        for msg in bus.listen(timeout_s=1):
            if msg.type == "question":
                bus.reply(msg, "answer", msg.body)
            if _over.is_set():
                break


def call(db: str, socket: str) -> None:
    """Send over the socket, look into the inbox there, and begin anew where the helper is gone for a while."""
    from raven_rpc import Client

    while not _over.wait(_PAUSE_S):
        try:
            with Client(socket, "caller:soak") as client:
                while not _over.wait(_PAUSE_S * 2):
                    client.send("socket-reader:soak", "note", "over the socket")
                    client.inbox(peek=True)
        except RavenError:
            continue


def hear(db: str, socket: str) -> None:
    """Take mail over the socket, with manual acks."""
    from raven_rpc import Client

    while not _over.wait(_PAUSE_S):
        try:
            with Client(socket, "socket-reader:soak") as client:
                # What is pushed counts an attempt: few at once, since another of this part is killed now and then.
                for msg in client.listen(ack="manual", timeout_s=5, max_per_poll=2):
                    client.ack(msg.id)
                    if _over.is_set():
                        break
        except RavenError:
            continue


def help_out(db: str, socket: str) -> None:
    """Serve the bus on the socket."""
    from raven_rpc import serve

    serve(db, socket)


PARTS: dict[str, Callable[[str, str], None]] = {
    "producer": produce,
    "worker": work,
    "reader": read,
    "asker": ask,
    "answerer": answer,
    "caller": call,
    "hearer": hear,
    "helper": help_out,
}


def _await_end() -> None:
    sys.stdin.readline()
    _over.set()
    if sys.argv[1] == "helper":
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    part, db, socket = sys.argv[1:]
    threading.Thread(target=_await_end, daemon=True).start()
    print(f"{part} is ready", flush=True)
    PARTS[part](db, socket)


if __name__ == "__main__":
    main()
