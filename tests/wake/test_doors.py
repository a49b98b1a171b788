"""Doors: one FIFO hears the mail of many addresses, and no reader takes it for a subscriber."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from raven.exchange.exchange import Exchange
from raven.wake import doors as doors_module
from raven.wake.doorbell import DOORS, Doorbells
from raven.wake.doors import Doors
from raven.wake.listener import Listener
from tests.support import DEADLINE_S, Program, bells, descriptors, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
FAR = "far:s"


@pytest.fixture
def boss(connect: Connect) -> BusClient:
    return connect("boss:s")


@pytest.fixture
def doors(boss: BusClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doors]:
    monkeypatch.setattr(doors_module, "_BUDGET_S", DEADLINE_S)  # a busy machine stands still for longer than usual
    doors = Doors(boss._handle)
    yield doors
    doors.close()


def is_rung(listener: Listener) -> bool:
    return listener.wait(0)


def finish(doors: Doors) -> None:
    while doors.is_behind:
        doors.tick()


def placed(db: str) -> set[str]:
    """Return the folders in which a door is."""
    return {os.path.dirname(path) for path in bells(db) if "/door-" in path}


def test_a_thousand_addresses_ring_one_fifo_and_the_others_do_not(db: str, boss: BusClient, doors: Doors) -> None:
    addresses, before = [f"far:{number}" for number in range(1000)], descriptors()

    doors.set(dict.fromkeys(addresses, True))
    finish(doors)

    assert descriptors() == before
    for address in addresses:
        assert boss.send(address, "job").waiting == {address: True}
        assert is_rung(doors), address
    assert boss.send("near:0", "job").waiting == {"near:0": False}
    assert not is_rung(doors)
    doors.set({"far:7": True})
    finish(doors)
    assert placed(db) == {"far:7"}
    assert not boss.send("far:8", "job").waiting["far:8"]
    assert not is_rung(doors)
    doors.close()
    assert bells(db) == []


def test_a_slow_disk_gets_the_doors_in_several_calls(db: str, doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors_module, "_BUDGET_S", 0.0)
    counts = []

    for wanted in ({}, {"far:1": True, "far:2": True, "far:3": True}, {"far:4": True}):
        doors.set(wanted)
        counts.append((len(placed(db)), doors.is_behind))
        finish(doors)
        counts.append((len(placed(db)), doors.is_behind))

    assert counts == [(0, False), (0, False), (1, True), (3, False), (3, True), (1, False)]


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("has_loop", [True, False])
def test_a_door_counts_for_the_sender_alone_and_only_if_subscribers_wait_behind_it(
    db: str, boss: BusClient, connect: Connect, doors: Doors, waits: bool, has_loop: bool
) -> None:
    connect(FAR).claim()
    doors.set({FAR: not waits})
    doors.set({FAR: waits})
    doorbells = Doorbells(db)
    with ExitStack() as stack:
        if has_loop:
            loop = Listener(boss._handle, FAR, elect=False)
            stack.callback(loop.close)
            assert not loop.has_company()

        told = [boss.send(FAR, "job", dedup_key="once").waiting for _ in range(2)]
        with boss.transaction() as tx:
            told.append(tx.send(FAR, "job").waiting)

        assert told == [{FAR: waits or has_loop}] * 3
        assert [peer.waiting for peer in boss.peers() if peer.address == FAR] == [int(has_loop)]
        assert [one.waiting for one in boss.stats().addresses if one.address == FAR] == [int(has_loop)]
        with Exchange(db, "alpha") as exchange:
            assert exchange.home()[FAR].waiting == int(has_loop)
        assert doorbells.count_waiting(FAR) == waits + has_loop
        assert len(placed(db)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a pipe holds")
def test_a_door_is_rung_once_no_subscriber_at_the_address_is_idle(boss: BusClient, doors: Doors) -> None:
    doors.set({FAR: False})
    loops = [Listener(boss._handle, FAR, elect=False) for _ in range(2)]

    heard = []
    for _ in range(3):
        assert boss.send(FAR, "job").waiting == {FAR: True}
        heard.append((sum(loop.wait(0, drains=False) for loop in loops), doors.wait(0, drains=False)))

    assert heard == [(1, False), (2, False), (2, True)]
    for loop in loops:
        loop.close()


def test_the_doors_of_a_killed_holder_count_no_more_and_are_swept(db: str, boss: BusClient, spawn: Spawn) -> None:
    addresses = [f"far:{number}" for number in range(50)]
    holder = spawn("doors_holder", db, json.dumps(dict.fromkeys(addresses, True)))
    holder.read()
    assert boss.send(addresses[0], "job").waiting == {addresses[0]: True}

    holder.kill()

    assert boss.send(addresses[0], "job").waiting == {addresses[0]: False}
    assert placed(db) == set(addresses[1:])
    Doorbells(db).sweep()
    assert bells(db) == []


def test_a_forked_childs_copy_of_doors_changes_nothing_and_reads_none_of_its_files(
    db: str, boss: BusClient, spawn: Spawn
) -> None:
    holder = spawn("doors_holder", db, json.dumps({FAR: True}), "fork")

    assert holder.read() == "mine"
    holder.read()
    assert placed(db) == {FAR}
    assert boss.send(FAR, "job").waiting == {FAR: True}
    holder.tell()
    assert holder.wait(DEADLINE_S) == 0
    assert bells(db) == []


def refuse(code: int) -> Callable[[str, pytest.MonkeyPatch], None]:
    """Return a function that lets the file system refuse to link a FIFO into the folder of FAR."""

    def apply(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
        link = os.link

        def refusing(source: str, path: str) -> None:
            if f"/{FAR}/" in path:
                raise OSError(code, os.strerror(code), path)
            link(source, path)

        monkeypatch.setattr(os, "link", refusing)

    return apply


def open_to_others(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(f"{db}-bells", FAR)
    folder.mkdir(parents=True)
    folder.chmod(0o777)


@pytest.mark.parametrize(
    "way", [open_to_others, *map(refuse, (errno.EPERM, errno.EMLINK, errno.EXDEV))],
    ids=["a folder open to others", "no links", "too many links", "another file system"],
)  # fmt: skip
def test_where_a_door_is_refused_every_send_rings_until_it_is_allowed(
    db: str,
    boss: BusClient,
    doors: Doors,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: Callable[[str, pytest.MonkeyPatch], None],
) -> None:
    way(db, monkeypatch)

    assert doors.set({FAR: True, "far:t": True})

    assert doors.has_fallback
    assert not doors.set({FAR: True, "far:t": True, "far:u": True})
    assert placed(db) == {"far:t", "far:u"}
    assert (FAR in bells(db)) == (way is open_to_others)
    for address, waits in ((FAR, False), ("far:u", True), ("near:s", False)):
        assert boss.send(address, "job").waiting == {address: waits}
        assert is_rung(doors), address
    assert not doors.tick()
    assert len(caplog.records) == 1
    assert f"no door in {db}-bells (" in caplog.text

    monkeypatch.undo()
    if way is open_to_others:
        Path(f"{db}-bells", FAR).chmod(0o700)
    monkeypatch.setattr(doors_module, "_RETRY_S", 0.0)
    doors._retry_at = 0.0

    assert doors.tick()
    assert not doors.has_fallback
    assert boss.send(FAR, "job").waiting == {FAR: True}
    assert is_rung(doors)
    boss.send("near:s", "job")
    assert not is_rung(doors)
    doors.close()
    assert bells(db) == []


def test_a_door_that_is_refused_is_forgotten_once_it_is_not_wanted(
    db: str, boss: BusClient, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(errno.EPERM)(db, monkeypatch)
    doors.set({FAR: True, "far:t": True})

    assert doors.set({"far:t": True})

    assert not doors.has_fallback
    boss.send("far:t", "job")
    assert is_rung(doors)


def put_a_file(path: Path) -> None:
    path.unlink()
    path.write_text("mine")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "all bells": lambda door: shutil.rmtree(door.parents[1]),
    "a folder": lambda door: shutil.rmtree(door.parent),
    "a door": lambda door: door.unlink(),
    "a file in its place": put_a_file,
    "the fifo": lambda door: shutil.rmtree(door.parents[1] / DOORS),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_doors_that_were_removed_are_there_again_after_a_tick(
    db: str, boss: BusClient, doors: Doors, damage: str
) -> None:
    doors.set({FAR: True, "far:t": False})
    [door] = Path(f"{db}-bells", FAR).iterdir()
    assert not doors.tick()
    DAMAGE[damage](door)

    assert doors.tick()

    for address in (FAR, "far:t"):
        assert boss.send(address, "job").waiting == {address: address == FAR}
        assert is_rung(doors), address
    assert not doors.tick()
    assert damage != "a file in its place" or door.read_text() == "mine"


def test_doors_come_and_go_beside_a_sweeper_that_removes_empty_folders(db: str, boss: BusClient, doors: Doors) -> None:
    is_over = threading.Event()

    def sweep() -> None:
        while not is_over.is_set():
            Doorbells(db).sweep()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    for number in range(200):
        doors.set({f"far:{number}": True, f"far:{number + 1}": True})
    is_over.set()
    sweeper.join()

    assert not doors.has_fallback
    assert placed(db) == {"far:199", "far:200"}
    assert boss.send("far:199", "job").waiting == {"far:199": True}
    assert is_rung(doors)


def test_the_version_of_the_bells_changes_as_subscribers_come_and_go_and_rests_otherwise(
    db: str, boss: BusClient, doors: Doors
) -> None:
    doorbells = boss._doorbells
    doors.set({FAR: True})
    loops: list[Any] = []

    def settled() -> int:
        return wait_until(lambda: (first := doorbells.bells_version()) == doorbells.bells_version() and first, "rest")

    changes: dict[str, Callable[[], object]] = {
        "a loop comes to a door": lambda: loops.append(doorbells.create(FAR)),
        "a second loop comes": lambda: loops.append(doorbells.create(FAR)),
        "one of two leaves": lambda: loops.pop().close(),
        "the last loop leaves a door": lambda: loops.pop().close(),
        "a loop comes to no door": lambda: loops.append(doorbells.create("near:s")),
        "it leaves": lambda: loops.pop().close(),
        "a dead loop is swept": lambda: (os.mkfifo(f"{db}-bells/{FAR}/1-dead"), doorbells.sweep()),
    }
    for change, apply in changes.items():
        before = settled()
        apply()
        assert doorbells.bells_version() != before, change
    assert Doorbells(f"{db}-none").bells_version() == 0
