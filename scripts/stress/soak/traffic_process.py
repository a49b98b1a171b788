"""Run one role of a soak until an input line: `python -m scripts.stress.soak.traffic_process ROLE DB SOCKET`.

The transaction that sends a job also inserts it into a table, and the transaction that acks it deletes it there. At the
end the table must be empty, and no job may be deleted twice, whichever process was killed. The process prints a line
when it is ready, and ends at an input line.
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
_RETENTION = {"max_messages": 1000, "grace_s": 0}
_stop = threading.Event()


def produce(db: str, socket: str) -> None:
    """Send recorded jobs, and now and then a broadcast, a delayed and an expiring message."""
    bus = BusClient.at(f"producer-{os.getpid()}:soak", db, retention=_RETENTION, busy_timeout_s=30, register=False)
    number = 0
    while not _stop.wait(_PAUSE_S):
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
    """Process each job exactly once, and first nack one in a hundred."""
    bus = BusClient.at("worker:soak", db, max_attempts=100, busy_timeout_s=30)
    while not _stop.is_set():
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
            if _stop.is_set():
                break


def read(db: str, socket: str) -> None:
    """Receive at most once, under asyncio."""

    async def receive() -> None:
        with BusClient.at("reader:soak", db, busy_timeout_s=30) as bus:
            async for _ in bus.subscribe():
                pass

    async def receive_until_stop() -> None:
        task = asyncio.create_task(receive())
        await asyncio.to_thread(_stop.wait)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(receive_until_stop())


def request(db: str, socket: str) -> None:
    """Send a request and wait for its reply, again and again."""
    bus = BusClient.at(f"requester-{os.getpid()}:soak", db, register=False, busy_timeout_s=30)
    while not _stop.wait(_PAUSE_S * 3):
        try:
            bus.request("replier:soak", "question", os.getpid(), timeout_s=5)
        except WaitTimeoutError:
            continue


def reply(db: str, socket: str) -> None:
    """Reply to requests."""
    bus = BusClient.at("replier:soak", db, busy_timeout_s=30)
    while not _stop.is_set():
        for msg in bus.listen(timeout_s=1):
            if msg.type == "question":
                bus.reply(msg, "answer", msg.body)
            if _stop.is_set():
                break


def send_over_socket(db: str, socket: str) -> None:
    """Send and read the inbox over the socket, and connect again after a restart of the server."""
    from raven_rpc import Client

    while not _stop.wait(_PAUSE_S):
        try:
            with Client(socket, "socket-sender:soak") as client:
                while not _stop.wait(_PAUSE_S * 2):
                    client.send("socket-reader:soak", "note", "over the socket")
                    client.inbox(peek=True)
        except RavenError:
            continue


def receive_over_socket(db: str, socket: str) -> None:
    """Receive over the socket, with manual acks."""
    from raven_rpc import Client

    while not _stop.wait(_PAUSE_S):
        try:
            with Client(socket, "socket-reader:soak") as client:
                # A push counts an attempt, and the other process of this role is sometimes killed: push few at once.
                for msg in client.listen(ack="manual", timeout_s=5, max_per_poll=2):
                    client.ack(msg.id)
                    if _stop.is_set():
                        break
        except RavenError:
            continue


def serve_bus(db: str, socket: str) -> None:
    """Serve the bus on the socket."""
    from raven_rpc import serve

    serve(db, socket)


ROLES: dict[str, Callable[[str, str], None]] = {
    "producer": produce,
    "worker": work,
    "reader": read,
    "requester": request,
    "replier": reply,
    "socket_sender": send_over_socket,
    "socket_receiver": receive_over_socket,
    "server": serve_bus,
}


def _await_end() -> None:
    sys.stdin.readline()
    _stop.set()
    if sys.argv[1] == "server":
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    role, db, socket = sys.argv[1:]
    threading.Thread(target=_await_end, daemon=True).start()
    print(f"{role} is ready", flush=True)
    ROLES[role](db, socket)


if __name__ == "__main__":
    main()
