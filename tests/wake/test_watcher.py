"""The WAL watcher: one process notices external writers, which do not ring, on behalf of all."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from raven import BusClient
from raven.store.database import Store
from raven.wake import watcher as watcher_module
from raven.wake.doorbell import Doorbells
from raven.wake.listener import Listener
from raven.wake.watcher import WalWatcher
from scripts.harness.deadline import Limit
from tests.support import (
    DEADLINE_S,
    NEVER_POLLS_S,
    Foreign,
    Program,
    is_watched,
    wait_for_waiting,
    wait_for_watch,
    wait_until,
    waiting,
)

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
NEVER = json.dumps({"poll_interval_s": NEVER_POLLS_S})
AT_ONCE_S = Limit(5.0)


@contextmanager
def no_threads() -> Iterator[None]:
    """Let this process start no thread: the address space is too small for such a stack."""
    before = threading.stack_size(1 << 50)
    try:
        yield
    finally:
        threading.stack_size(before)


@pytest.fixture
def hear(db: str, connect: Connect, foreign: Foreign) -> Callable[..., float]:
    """Send as an external writer, and return the time until a subscriber received it."""
    connect("boss:s")

    def send_and_hear(program: Program, address: str = "worker:s") -> float:
        body = time.monotonic()
        foreign.send(address, body)
        line = program.read()
        assert line["body"] == body
        return float(line["heard_at"]) - body

    return send_and_hear


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_an_external_insert_wakes_a_subscriber_that_hardly_ever_polls(
    db: str, foreign: Foreign, spawn: Spawn, hear: Callable[..., float], mode: str
) -> None:
    program = spawn("subscriber", db, "worker:s", json.dumps({"poll_interval_s": NEVER_POLLS_S, "mode": mode}))
    wait_for_watch(db, program)

    assert max(hear(program) for _ in range(5)) < AT_ONCE_S


def test_an_external_insert_at_any_moment_of_a_subscribers_start_is_noticed(
    db: str, connect: Connect, foreign: Foreign, spawn: Spawn
) -> None:
    connect("boss:s")
    programs = []
    for number in range(6):
        address = f"worker-{number}:s"
        program = spawn("subscriber", db, address, NEVER)
        wait_for_waiting(db, address)
        wait_until(lambda: is_watched(db), "the watch")
        time.sleep(number * 0.02)  # hits another moment each time
        foreign.send(address, "early")
        programs.append(program)

        assert program.read(AT_ONCE_S)["body"] == "early"
        program.kill()  # the next subscriber must become the watcher


def test_the_watcher_rings_for_subscribers_in_other_processes(
    db: str, foreign: Foreign, spawn: Spawn, hear: Callable[..., float]
) -> None:
    watcher = spawn("subscriber", db, "watcher:s", NEVER)
    wait_for_watch(db, watcher)
    other = spawn("subscriber", db, "worker:s", NEVER)
    wait_for_waiting(db, "worker:s")

    assert max(hear(other) for _ in range(3)) < AT_ONCE_S
    assert hear(watcher, "watcher:s") < AT_ONCE_S


def test_an_external_message_with_a_delay_wakes_in_time(
    db: str, foreign: Foreign, spawn: Spawn, hear: Callable[..., float]
) -> None:
    program = spawn("subscriber", db, "worker:s", NEVER)
    wait_for_watch(db, program)
    began = time.monotonic()

    foreign.send("worker:s", "later", delay_s=0.5)

    assert 0.4 < program.read()["heard_at"] - began < AT_ONCE_S


@pytest.mark.process
def test_the_watch_survives_deletion_and_recreation_of_the_wal(
    db: str, foreign: Foreign, spawn: Spawn, hear: Callable[..., float]
) -> None:
    """Replace the bus as a restored backup does: file, WAL and index are all new."""
    watcher = spawn("subscriber", db, "watcher:s", json.dumps({"poll_interval_s": 0.2}))
    wait_for_watch(db, watcher)
    foreign.program.kill()
    with BusClient.at("boss:s", f"{db}.new"):
        pass
    for end in ("-wal", "-shm", ""):
        os.unlink(db + end)
    os.rename(f"{db}.new", db)
    newcomer = spawn("external_writer", db)
    foreign.program = newcomer
    wait_until(lambda: Path(f"{db}-wal").exists() or foreign.execute("SELECT 1"), "a new WAL")

    # This subscriber never polls: it is woken only through the watcher elected before.
    late = spawn("subscriber", db, "worker:s", NEVER)
    wait_for_waiting(db, "worker:s")

    assert max(hear(late) for _ in range(3)) < AT_ONCE_S


def test_two_bursts_are_both_noticed_though_all_connections_close_between_them(
    db: str, spawn: Spawn, foreign: Foreign, hear: Callable[..., float]
) -> None:
    for _ in range(2):
        program = spawn("subscriber", db, "worker:s", json.dumps({"poll_interval_s": NEVER_POLLS_S, "stop_after": 50}))
        wait_for_waiting(db, "worker:s")
        wait_for_watch(db, program)
        assert hear(program) < AT_ONCE_S
        program.kill()


def test_when_the_watcher_is_killed_another_process_takes_over_within_its_tick(
    db: str, foreign: Foreign, spawn: Spawn, hear: Callable[..., float]
) -> None:
    watcher = spawn("subscriber", db, "watcher:s", NEVER)
    wait_for_watch(db, watcher)
    successor = spawn("subscriber", db, "successor:s", '{"poll_interval_s": 0.5}')
    listener = spawn("subscriber", db, "worker:s", NEVER)
    wait_for_waiting(db, "successor:s")
    wait_for_waiting(db, "worker:s")

    watcher.kill()
    wait_for_watch(db, successor, listener)

    # This subscriber never polls: it is woken only through the new watcher, or is it.
    assert max(hear(listener) for _ in range(5)) < AT_ONCE_S


def test_of_many_subscribers_in_one_process_one_watches(db: str, connect: Connect) -> None:
    bus = connect("worker:s")
    with ThreadPoolExecutor(4) as pool:
        loops = [pool.submit(list, bus.listen(poll_interval_s=0.05)) for _ in range(4)]
        wait_for_waiting(db, "worker:s", 4)
        wait_until(lambda: is_watched(db), "the watch")

        watching = [thread for thread in threading.enumerate() if thread.name == "raven-wal-watcher"]
        bus.close()

        assert [loop.result(5) for loop in loops] == [[]] * 4
    assert len(watching) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_without_free_inotify_instances_an_external_insert_is_still_noticed(
    db: str, connect: Connect, foreign: Foreign, spawn: Spawn
) -> None:
    connect("boss:s")
    program = spawn("no_inotify", db, "worker:s")
    wait_for_waiting(db, "worker:s")
    wait_until(lambda: is_watched(db), "the watch")
    foreign.send("worker:s", "first")
    assert program.read(AT_ONCE_S) == "first"

    sent_at = time.monotonic()
    foreign.send("worker:s", "second")

    assert program.read(AT_ONCE_S) == "second"
    assert time.monotonic() - sent_at < Limit(1)


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_without_a_fifo_mail_arrives_by_the_fallback_poll(
    db: str, connect: Connect, foreign: Foreign, spawn: Spawn, mode: str
) -> None:
    Path(f"{db}-bells").write_text("in the way")
    bus = connect("boss:s")
    program = spawn("subscriber", db, "worker:s", json.dumps({"poll_interval_s": NEVER_POLLS_S, "mode": mode}))

    for number in range(3):
        bus.send("worker:s", "note", number)
        assert program.read(AT_ONCE_S)["body"] == number
    foreign.send("worker:s", "foreign")
    assert program.read(AT_ONCE_S)["body"] == "foreign"

    assert Path(f"{db}-bells").read_text() == "in the way"
    assert {peer.waiting for peer in bus.peers()} == {0}


def hold(lock: threading.RLock, taken: threading.Event, done: threading.Event) -> None:
    with lock:
        taken.set()
        assert done.wait(DEADLINE_S)


def test_a_watcher_without_a_thread_releases_the_lock_and_is_elected_later(db: str, connect: Connect) -> None:
    bus = connect("worker:a")
    with no_threads():
        listener = Listener(bus._handle, "worker:a")
        assert not is_watched(db)

    listener.tick()

    assert is_watched(db)
    listener.close()


def test_a_listener_counts_also_if_the_end_of_one_before_it_is_counted_later(db: str, connect: Connect) -> None:
    bus = connect("worker:a")
    for _ in range(10):  # the second listener mostly lies where the first was
        first = Listener(bus._handle, "worker:a")
        taken, done = threading.Event(), threading.Event()
        thread = threading.Thread(target=hold, args=(first._watcher._lock, taken, done))
        thread.start()
        assert taken.wait(DEADLINE_S)
        first.close(may_wait=False)
        del first
        done.set()
        thread.join(DEADLINE_S)

        second = Listener(bus._handle, "worker:a")

        second.tick()
        assert is_watched(db)
        second.close()


def test_the_watcher_sweeps_the_empty_folders_of_dead_subscribers(db: str, connect: Connect) -> None:
    bus = connect("worker:a")
    listener = Listener(bus._handle, "worker:a")
    folder = Path(f"{db}-bells/dead:a")
    folder.mkdir()

    wait_until(lambda: not folder.exists(), "the sweep")

    assert waiting(db, "worker:a") == 1
    listener.close()


def test_a_folder_that_cannot_be_watched_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watcher_module, "_RETRY_S", 0.002)
    monkeypatch.setattr(watcher_module, "FALLBACK_POLL_S", 0.001)
    folder = tmp_path / "bus"
    folder.mkdir()
    store = Store(str(folder / "bus.db"))
    watch = WalWatcher(store, Doorbells(store.path), lambda _: None)
    shutil.rmtree(folder)
    began = time.monotonic()

    with caplog.at_level(logging.WARNING, logger="raven"):
        events = list(islice(watch._events(store, watch._stop), 10))

    assert events == [(0.0,)] * 10
    assert time.monotonic() - began > 2 * 0.002
    assert len(caplog.records) == 1
    assert "polling every" in caplog.records[0].message
    store.close()
