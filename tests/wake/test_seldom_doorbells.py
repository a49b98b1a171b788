"""Doorbells in what seldom happens to them: more of them than are remembered, no descriptors, folders that are gone."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from raven import BusClient
from raven.store.database import Store
from raven.wake import doorbell
from raven.wake import watcher as walwatch
from raven.wake.doorbell import Doorbells
from raven.wake.listener import Listener
from raven.wake.watcher import WalWatch
from tests.support import bells, is_watched, wait_until, waiting

Connect = Callable[..., BusClient]
ADDRESSES = ["worker:a", "worker:b", "worker:c"]


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def no_threads() -> Iterator[None]:
    """Let this process start no thread: no address space has room for a stack of that size."""
    before = threading.stack_size(1 << 50)
    try:
        yield
    finally:
        threading.stack_size(before)


def grow_old(folder: str) -> None:
    """Let a folder look as if it had last been changed long ago, so that its listing is remembered."""
    os.utime(folder, (1, 1))


@pytest.mark.parametrize("limit", ["_MAX_LISTED", "_MAX_FOLDERS"])
def test_where_more_bells_hang_than_are_remembered_all_are_rung(
    db: str, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(doorbell, limit, 1)
    doorbells = Doorbells(db)
    hung = [doorbells.hang(address) for address in ADDRESSES]
    for address in ADDRESSES:
        grow_old(doorbells.place_of(address))

    assert doorbells.ring(ADDRESSES) == ADDRESSES
    assert doorbells.ring(ADDRESSES) == ADDRESSES

    assert all(bell.wait(5) for bell in hung)
    for bell in hung:
        bell.close()


def test_a_sweep_for_which_there_is_no_descriptor_leaves_all_to_the_next(db: str) -> None:
    place = Path(f"{db}-bells/worker:a")
    place.mkdir(parents=True)
    os.mkfifo(place / "1-dead")

    with no_descriptors():
        Doorbells(db).sweep()
    assert bells(db) == ["worker:a", "worker:a/1-dead"]

    Doorbells(db).sweep()
    assert bells(db) == []


def test_a_file_in_the_place_of_a_bell_that_is_remembered_is_not_written_to(db: str) -> None:
    doorbells = Doorbells(db)
    bell = doorbells.hang("worker:a")
    folder = Path(doorbells.place_of("worker:a"))
    grow_old(str(folder))
    assert doorbells.ring(["worker:a"]) == ["worker:a"]
    [path] = folder.iterdir()

    path.unlink()
    path.write_text("mine")
    grow_old(str(folder))

    assert doorbells.ring(["worker:a"]) == []
    assert path.read_text() == "mine"
    bell.close()


def test_no_lock_file_is_opened_behind_a_link(db: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", f"{db}-bells")

    with pytest.raises(NotADirectoryError, match="it is a link"):
        Doorbells(db).open_lock("watch.lock")

    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_bell_that_was_taken_down_by_others_hangs_no_more_and_closes_twice(db: str) -> None:
    bell = Doorbells(db).hang("worker:a")
    [path] = Path(Doorbells(db).place_of("worker:a")).iterdir()
    assert bell.hangs()

    path.unlink()

    assert not bell.hangs()
    bell.close()
    bell.close()
    assert bells(db) == []


def test_where_the_very_folder_of_the_bus_is_gone_no_bell_hangs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Doorbells(str(tmp_path / "gone" / "bus.db")).hang("worker:a")

    assert not list(tmp_path.iterdir())


def test_a_listener_whose_bells_folder_became_a_link_is_deaf_from_its_next_tick_on(
    db: str, tmp_path: Path, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    bus = connect("worker:a")
    listener = Listener(bus._handle, "worker:a", stands=False)
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(f"{db}-bells")
    os.symlink(tmp_path / "elsewhere", f"{db}-bells")

    with caplog.at_level(logging.WARNING, logger="raven"):
        listener.tick()
    listener.silence()

    assert listener.is_deaf
    assert not listener.wait(60)
    assert [record.message.partition(" (")[0] for record in caplog.records] == [f"no doorbell at {db}-bells"]
    listener.close()


def test_a_closed_listener_hangs_nothing_at_a_tick_and_closes_twice(db: str, connect: Connect) -> None:
    bus = connect("worker:a")
    listener = Listener(bus._handle, "worker:a")

    listener.close()
    listener.tick()
    listener.close()

    assert waiting(db, "worker:a") == 0
    assert not is_watched(db)


def test_a_watch_that_finds_no_thread_leaves_the_lock_to_others_and_stands_later(db: str, connect: Connect) -> None:
    bus = connect("worker:a")
    with no_threads():
        listener = Listener(bus._handle, "worker:a")
        assert not is_watched(db)

    listener.tick()

    assert is_watched(db)
    listener.close()


def test_the_watch_sweeps_away_the_folders_that_the_dead_have_left_empty(
    db: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walwatch, "_SWEEP_EVERY_S", 0)
    bus = connect("worker:a")
    listener = Listener(bus._handle, "worker:a")
    folder = Path(f"{db}-bells/dead:a")
    folder.mkdir()

    wait_until(lambda: not folder.exists(), "the sweep")

    assert waiting(db, "worker:a") == 1
    listener.close()


def test_a_folder_that_cannot_be_watched_is_told_once_however_often_it_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(walwatch, "_RETRY_S", 0.002)
    monkeypatch.setattr(walwatch, "FALLBACK_POLL_S", 0.001)
    folder = tmp_path / "bus"
    folder.mkdir()
    store = Store(str(folder / "bus.db"))
    watch = WalWatch(store, Doorbells(store.path), lambda _: None)
    shutil.rmtree(folder)
    began = time.monotonic()

    with caplog.at_level(logging.WARNING, logger="raven"):
        looks = list(islice(watch._events(store, watch._stop), 10))

    assert looks == [(0.0,)] * 10
    assert time.monotonic() - began > 2 * 0.002
    assert len(caplog.records) == 1
    assert "looking every" in caplog.records[0].message
    store.close()
