"""Every call, and every loop however short, notices that the file was replaced or deleted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient, FileMissingError, MessageNotFoundError
from tests.loop import taken

Connect = Callable[..., BusClient]
Call = Callable[[BusClient], Any]


async def subscribed(bus: BusClient) -> list[Any]:
    return [msg.body async for msg in bus.subscribe(timeout_s=0)]


# Each call with its result from the new file, which holds one message to worker:s.
CALLS: dict[str, tuple[Call, Any]] = {
    "read": (lambda bus: bus.read(1).body, "new"),
    "recipients": (lambda bus: bus.recipients(1), ["worker:s"]),
    "history": (lambda bus: [msg.body for msg in bus.history("c")], ["new"]),
    "thread": (lambda bus: [msg.body for msg in bus.thread(1)], ["new"]),
    "receipts": (lambda bus: [receipt.state for receipt in bus.receipts(1)], ["sent"]),
    "wait_receipt": (lambda bus: [receipt.state for receipt in bus.wait_receipt(1, "sent", 1)], ["sent"]),
    "peers": (lambda bus: [peer.address for peer in bus.peers()], ["new:s", "worker:s"]),
    "stats": (lambda bus: bus.stats().messages, 1),
    "last_id": (lambda bus: bus.last_id(), 1),
    "dead": (lambda bus: bus.dead(), []),
    "prune": (lambda bus: bus.prune(0.000001, grace_s=0, dry_run=True).messages, 0),
    "tail": (lambda bus: [msg.body for msg in bus.tail(follow=False)], ["new"]),
    "follow": (lambda bus: [msg.body for msg in bus.tail(timeout_s=0.1)], ["new"]),
    "peek": (lambda bus: [msg.body for msg in bus.inbox(peek=True)], ["new"]),
    "inbox": (lambda bus: [msg.body for msg in bus.inbox()], ["new"]),
    "claim": (lambda bus: [msg.body for msg in bus.claim()], ["new"]),
    "listen": (lambda bus: [msg.body for msg in taken(bus)], ["new"]),
    "manual": (lambda bus: [msg.body for msg in bus.listen(ack="manual", timeout_s=0)], ["new"]),
    "subscribe": (lambda bus: asyncio.run(subscribed(bus)), ["new"]),
    "send": (lambda bus: bus.send("worker:s", "note").id, 2),
    "ack": (lambda bus: bus.ack(1), None),
    "transaction": (lambda bus: bus.execute("SELECT count(*) FROM messages"), [(1,)]),
}


def busy(connect: Connect) -> BusClient:
    """Return a client of a bus with mail."""
    bus = connect("worker:s")
    for _ in range(3):
        bus.send("worker:s", "note", "old", correlation_id="c")
    assert bus.last_id() == 3
    return bus


@pytest.mark.parametrize("call", CALLS)
def test_the_first_call_after_a_replacement_reads_the_new_file(db: str, connect: Connect, call: str) -> None:
    bus = busy(connect)
    new = f"{db}.new"
    with BusClient.at("new:s", new) as other:
        other.register("worker:s")
        other.send("worker:s", "note", "new", correlation_id="c")
    for end in ("-wal", "-shm"):
        os.unlink(db + end)
    os.replace(new, db)
    ask, expected = CALLS[call]

    assert ask(bus) == expected


@pytest.mark.parametrize("call", CALLS)
def test_the_first_call_after_a_deletion_raises(db: str, connect: Connect, call: str) -> None:
    bus = busy(connect)
    os.unlink(db)

    with pytest.raises(FileMissingError, match="was deleted or moved while in use"):
        CALLS[call][0](bus)

    assert not Path(db).exists()


def test_loops_shorter_than_a_tick_notice_a_new_file(db: str, connect: Connect) -> None:
    bus = busy(connect)
    assert len(taken(bus)) == 3
    with BusClient.at("worker:s", f"{db}.new") as other:
        other.send("worker:s", "note", "new")
    os.replace(f"{db}.new", db)

    bodies = [msg.body for msg in taken(bus, poll_interval_s=60)]

    assert bodies == ["new"]
    with pytest.raises(MessageNotFoundError):
        bus.read(3)
