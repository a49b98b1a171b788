"""Receipt doors: one FIFO hears what becomes of the mail to some addresses, and nothing of the mail to others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from raven import BusClient
from raven.delivery.identity import Identity
from raven.delivery.mailbox import Mailbox
from raven.delivery.queue_state import ASSUME_READY
from raven.model.address import parse_address
from raven.wake.doorbell import Doorbells
from raven.wake.doors import ReceiptDoors
from raven.wake.listener import Listener
from tests.support import DEADLINE_S, Program, bells, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


@pytest.fixture
def boss(connect: Connect) -> BusClient:
    return connect("boss:s")


def is_rung(listener: Listener) -> bool:
    return listener.wait(0)


def receipt_doors(db: str) -> list[str]:
    return sorted(os.listdir(f"{db}-bells/*0doors"))


@pytest.fixture
def receipts(boss: BusClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReceiptDoors]:
    monkeypatch.setattr("raven.wake.doors._BUDGET_S", DEADLINE_S)  # a busy machine stands still for longer than usual
    receipts = ReceiptDoors(boss._handle)
    yield receipts
    receipts.close()


@pytest.mark.parametrize("name", ["worker:s", f"{60 * 'W/'}:{60 * '%'}", f"worker+{16 * 'a'}:s"])
def test_the_receipts_at_an_address_ring_a_relay_that_has_a_door_for_it(
    db: str, boss: BusClient, connect: Connect, receipts: ReceiptDoors, name: str
) -> None:
    worker = connect("worker:s") if "+" in name else connect(name)
    sent = [boss.send(name, "job").id for _ in range(3)]
    mailbox = Mailbox(worker._store, Identity(worker._store, parse_address(name), registers=False), worker._doorbells)
    changes: dict[str, Callable[[], object]] = {
        "inbox": lambda: mailbox.inbox(1, peek=False),
        "claim": lambda: mailbox.claim(2, 60),
        "ack": lambda: [mailbox.ack(id) for id in sent[:2]],
        "batch": lambda: mailbox.consume_batch(ASSUME_READY, 9, None),
    }

    def heard() -> set[str]:
        heard = set()
        for change, apply in changes.items():
            apply()
            if is_rung(receipts):
                heard.add(change)
        sent[:] = [boss.send(name, "job").id for _ in range(3)]
        return heard

    assert heard() == set()
    receipts.hear(["other:s", name])
    assert heard() == set(changes)
    assert len(receipt_doors(db)) == 2
    receipts.hear(["other:s"])
    assert heard() == set()
    receipts.close()
    assert bells(db) == []


def test_a_lifetime_that_ends_rings_a_relay_without_doors(boss: BusClient, receipts: ReceiptDoors) -> None:
    short = boss.send("worker:s", "job", expires_in_s=0.01).id

    wait_until(lambda: boss.receipts(short)[0].state == "expired", "the end of a lifetime")

    assert is_rung(receipts)


@pytest.mark.parametrize("damage", ["the folder is removed", "the FIFO is removed", "a door is removed"])
def test_lost_receipt_doors_are_there_again_after_a_tick(
    db: str, boss: BusClient, connect: Connect, receipts: ReceiptDoors, damage: str
) -> None:
    worker = connect("worker:s")
    receipts.hear(["worker:s", "other:s"])
    if damage == "the folder is removed":
        shutil.rmtree(f"{db}-bells")
    else:
        os.unlink(receipts._path() if "FIFO" in damage else f"{db}-bells/*0doors/door-worker:s")

    receipts.tick()
    receipts.drain()
    boss.send("worker:s", "job")
    worker.claim()

    assert is_rung(receipts)
    assert receipt_doors(db) == ["door-other:s", "door-worker:s"]


def test_receipt_doors_that_are_refused_leave_the_relay_to_look_by_itself(
    db: str, boss: BusClient, connect: Connect, receipts: ReceiptDoors, caplog: pytest.LogCaptureFixture
) -> None:
    boss.send("worker:s", "job")
    os.mkdir(f"{db}-bells/*0doors", 0o700)
    blocked = Path(f"{db}-bells/*0doors/door-worker:s")
    blocked.write_text("mine")

    receipts.hear(["worker:s", "other:s"])
    connect("worker:s").claim()

    assert receipts.has_fallback
    assert not is_rung(receipts)
    assert "looks for receipts every 250 ms instead" in caplog.text
    blocked.unlink()
    receipts._retry_at = 0
    receipts.tick()
    assert not receipts.has_fallback


def test_the_receipt_doors_of_a_killed_relay_end_with_the_next_ring_or_sweep_or_relay(
    db: str, boss: BusClient, connect: Connect, spawn: Spawn
) -> None:
    addresses = [f"worker{number}:s" for number in range(9)]

    def die() -> None:
        holder = spawn("doors_holder", db, "{}", *addresses)
        holder.read()
        holder.kill()
        assert len(receipt_doors(db)) == 9

    die()
    boss.send("worker0:s", "job")
    connect("worker0:s").claim()
    assert len(receipt_doors(db)) == 8
    Doorbells(db).sweep()
    assert os.listdir(f"{db}-bells") == []
    die()
    receipts = ReceiptDoors(boss._handle)
    receipts.hear(["worker1:s"])
    assert receipt_doors(db) == ["door-worker1:s"]
    connect("worker0:s").ack(1)
    boss.send("worker1:s", "job")
    connect("worker1:s").claim()
    assert is_rung(receipts)
    receipts.close()


def test_a_waiter_is_heard_whether_or_not_the_folders_have_been_listed(
    db: str, boss: BusClient, connect: Connect
) -> None:
    listener = Listener(boss._handle, "other:s", watch=False)
    doorbells = Doorbells(db)

    def learn() -> bool:
        doorbells.ring_receipts("worker:s", ["*7"])
        return doorbells._known is not None

    for step in range(3):
        wait_until(learn, "a list of the folders")
        with ExitStack() as stack:
            waiter = Listener(boss._handle, "*7", watch=False)
            stack.callback(waiter.close)
            receipts = ReceiptDoors(boss._handle)
            stack.callback(receipts.close)
            receipts.hear(["worker:s"])
            if step:
                wait_until(learn, "a list with the folder of the waiter")
            waiter.drain()
            receipts.drain()
            doorbells._unheard_until = 0.0
            doorbells.ring_receipts("worker:s", ["*6", "*7"])
            assert is_rung(waiter)
            assert is_rung(receipts)
            doorbells.ring_receipts("other:s", ["*6"])
            assert not is_rung(waiter)
            assert not is_rung(receipts)
    listener.close()
