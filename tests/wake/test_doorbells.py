"""Doorbells in a hostile folder: with any files in it, a send succeeds at once and mail arrives."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from raven import BusClient
from raven.wake import doorbell as doorbell_module
from raven.wake.doorbell import Doorbells
from raven.wake.listener import Listener
from scripts.harness.deadline import Limit
from tests.support import Program, bells, is_watched, wait_for_waiting, wait_until, waiting

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
ADDRESS = "worker:s"
ADDRESSES = ["worker:a", "worker:b", "worker:c"]


@pytest.fixture
def folder(db: str) -> Path:
    """Create the doorbell folder of an address."""
    path = Path(f"{db}-bells") / ADDRESS
    path.mkdir(parents=True)
    return path


@pytest.fixture
def full_fifo(folder: Path) -> Iterator[Path]:
    """Create a doorbell whose pipe is full: its reader never drains it."""
    path = folder / "1-full"
    os.mkfifo(path, 0o600)
    ends = [os.open(path, flags | os.O_NONBLOCK) for flags in (os.O_RDONLY, os.O_WRONLY)]
    with suppress(BlockingIOError):
        while True:
            os.write(ends[1], b"!" * 4096)
    yield path
    for end in ends:
        os.close(end)


def send_at_once(bus: BusClient, body: object = None) -> None:
    began = time.monotonic()
    bus.send(ADDRESS, "note", body)
    assert time.monotonic() - began < Limit(2)


def test_many_rings_are_one(db: str) -> None:
    doorbells = Doorbells(db)
    doorbell = doorbells.create(ADDRESS)

    for _ in range(100):
        doorbells.ring([ADDRESS])

    assert doorbell.wait(5)
    assert not doorbell.wait(0)
    doorbell.close()


def test_a_ring_wakes_only_its_address(db: str) -> None:
    doorbells = Doorbells(db)
    mine, other = doorbells.create(ADDRESS), doorbells.create("worker:t")

    doorbells.ring([ADDRESS, "unread:s"])

    assert mine.wait(5)
    assert not other.wait(0)
    mine.close()
    other.close()
    assert bells(db) == []


def test_a_ring_for_all_wakes_every_address(db: str) -> None:
    doorbells = Doorbells(db)
    created = [doorbells.create(address) for address in (ADDRESS, ADDRESS, "other:t", "*")]

    doorbells.ring_all()

    assert all(doorbell.wait(5) for doorbell in created)
    for doorbell in created:
        doorbell.close()


@pytest.mark.parametrize("address", ["a/b:s", "../x:..", ".:.", "a b:ü 東京", "%2e:%2F", "x" * 300 + ":" + "y" * 200])
def test_any_address_has_a_doorbell_inside_the_bells_folder(db: str, address: str, connect: Connect) -> None:
    bus = connect(address)
    doorbell = Doorbells(db).create(address)

    assert waiting(db, address) == 1
    bus.send(address, "note")
    assert doorbell.wait(5)

    (name,) = {path.parts[0] for path in map(Path, bells(db))}
    assert ".." not in Path(name).parts
    doorbell.close()
    assert bells(db) == []


def test_similar_addresses_have_different_doorbells(db: str) -> None:
    addresses = ["a:b", "A:b", "a%3Ab:c", "a:b ü", "a~:b", "a:b.", "x" * 400 + ":1", "x" * 400 + ":2"]
    created = {address: Doorbells(db).create(address) for address in addresses}

    for address in addresses:
        Doorbells(db).ring([address])
        assert [other for other, doorbell in created.items() if doorbell.wait(0)] == [address]
    for doorbell in created.values():
        doorbell.close()


def test_a_full_pipe_delays_neither_the_sender_nor_the_others(
    db: str, connect: Connect, spawn: Spawn, full_fifo: Path
) -> None:
    bus = connect("boss:s")
    program = spawn("subscriber", db, ADDRESS, '{"poll_interval_s": 60}')
    wait_for_waiting(db, ADDRESS, 2)

    send_at_once(bus, "x")

    assert program.read()["body"] == "x"
    assert full_fifo.is_fifo()
    assert waiting(db, ADDRESS) == 2


def test_a_fifo_without_a_reader_is_removed_by_the_next_send(db: str, connect: Connect, folder: Path) -> None:
    bus = connect("boss:s")
    os.mkfifo(folder / "999999-dead")

    send_at_once(bus)

    assert not (folder / "999999-dead").exists()


def test_a_sweep_removes_dead_doorbells_and_leaves_live_ones_and_foreign_files(db: str, folder: Path) -> None:
    doorbells = Doorbells(db)
    living = doorbells.create("living:s")
    os.mkfifo(folder / "999999-dead")
    empty = folder.parent / "gone:s"
    empty.mkdir()
    (folder.parent / "other:s").mkdir()
    (folder.parent / "other:s" / "notes.txt").write_text("mine")
    old_draft, new_draft = folder / ".new-1-old", folder / ".new-1-fresh"
    for draft in (old_draft, new_draft):
        os.mkfifo(draft)
    os.utime(old_draft, (1, 1))

    doorbells.sweep()

    assert waiting(db, "living:s") == 1
    assert not empty.exists()
    assert (folder.parent / "other:s" / "notes.txt").read_text() == "mine"
    assert [path.name for path in folder.iterdir()] == [new_draft.name]
    living.close()


def test_after_the_bells_folder_was_deleted_mail_arrives_and_the_doorbell_is_recreated(
    db: str, connect: Connect, spawn: Spawn
) -> None:
    bus = connect("boss:s")
    program = spawn("subscriber", db, ADDRESS, '{"poll_interval_s": 0.2}')
    wait_for_waiting(db, ADDRESS)

    shutil.rmtree(f"{db}-bells")
    send_at_once(bus, "while it is gone")

    assert program.read()["body"] == "while it is gone"
    wait_for_waiting(db, ADDRESS)
    send_at_once(bus, "after")
    assert program.read()["body"] == "after"


def test_subscribers_that_start_and_stop_at_one_address_do_not_remove_each_others_folder(db: str, spawn: Spawn) -> None:
    programs = [spawn("doorbell_holder", db, ADDRESS, 200) for _ in range(3)]

    results = [program.read() for program in programs]

    assert results == [200] * 3
    wait_until(lambda: bells(db) == [], "an empty bells folder")


@pytest.mark.parametrize("limit", ["_MAX_LISTED", "_MAX_FOLDERS"])
def test_more_doorbells_than_the_cache_holds_are_all_rung(db: str, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(doorbell_module, limit, 1)
    doorbells = Doorbells(db)
    created = [doorbells.create(address) for address in ADDRESSES]
    for address in ADDRESSES:
        os.utime(doorbells.folder_for(address), (1, 1))  # long ago, so that its listing is cached

    assert doorbells.ring(ADDRESSES) == ADDRESSES
    assert doorbells.ring(ADDRESSES) == ADDRESSES

    assert all(doorbell.wait(5) for doorbell in created)
    for doorbell in created:
        doorbell.close()


def test_a_removed_or_replaced_doorbell_does_not_exist_and_closes_twice(db: str) -> None:
    doorbell = Doorbells(db).create("worker:a")
    [path] = Path(Doorbells(db).folder_for("worker:a")).iterdir()
    assert doorbell.exists()

    path.unlink()
    assert not doorbell.exists()
    os.mkfifo(path, 0o600)
    assert not doorbell.exists()
    path.unlink()

    doorbell.close()
    doorbell.close()
    assert bells(db) == []


def test_a_closed_listener_creates_no_doorbell_at_a_tick_and_closes_twice(db: str, connect: Connect) -> None:
    bus = connect("worker:a")
    listener = Listener(bus._handle, "worker:a")

    listener.close()
    listener.tick()
    listener.close()

    assert waiting(db, "worker:a") == 0
    assert not is_watched(db)
