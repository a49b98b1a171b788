"""Maintenance by the clock: a busy folder and a long poll interval delay it by no more than a second."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from raven.wake.fifo import TEMPORARY_PREFIX
from raven.wake.maintenance import Maintenance
from scripts.harness.deadline import Limit
from scripts.stress.processes.sigstop import watcher
from tests.support import Foreign, Program, bells, wait_for_waiting, wait_for_watch, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
# A second for the clock, and one for a busy machine.
IN_TIME_S = Limit(2.0)
# The longest poll interval that is allowed.
RARELY = 3600
WAITERS = ["listen", "subscribe", "tail", "server"]


@pytest.fixture(params=["appended", "created"])
def busy_folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Let files in the folder of the bus change all the time: a log grows, or files come and go."""
    stop = threading.Event()

    def append() -> None:
        with (tmp_path / "agent.log").open("a") as log:
            print("one line of a log", file=log)

    def create() -> None:
        for number in range(20):
            path = tmp_path / f"object-{number}.o"
            path.write_text("built")
            path.unlink()

    def run() -> None:
        while not stop.wait(0.01):
            append() if request.param == "appended" else create()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def wait_only(db: str, spawn: Spawn, serve: Callable[..., Any]) -> Callable[[str], None]:
    """Start a process that only waits, in one way, and hardly ever polls: it does the maintenance."""

    def start(mode: str) -> None:
        if mode == "server":
            serve()
            return
        program = spawn("subscriber", db, "idle:s", json.dumps({"mode": mode, "poll_interval_s": RARELY}))
        wait_for_waiting(db, "*" if mode == "tail" else "idle:s")
        wait_for_watch(db, program)

    return start


@pytest.mark.parametrize("mode", WAITERS)
@pytest.mark.usefixtures("busy_folder")
def test_beside_a_busy_folder_lives_delays_and_leases_end_in_time(
    connect: Connect, foreign: Foreign, wait_only: Callable[[str], None], mode: str
) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    wait_only(mode)
    began = time.monotonic()
    boss.send("worker:s", "job", max_attempts=1)
    worker.claim(lease_s=0.5)
    boss.send("worker:s", "late", delay_s=0.5)
    boss.send("worker:s", "short", expires_in_s=0.5, report="undelivered")

    # A foreign client settles nothing by looking.
    def states() -> list[list[Any]]:
        return foreign.execute("SELECT state, ready_at FROM deliveries WHERE recipient = 'worker:s' ORDER BY id")

    wait_until(lambda: states() == [[4, 0], [0, 0], [3, 0]], "the end of the lease, the delay and the life", IN_TIME_S)

    assert time.monotonic() - began >= 0.5
    assert [message.type for message in boss.inbox(peek=True)] == ["raven.undelivered"]


@pytest.mark.parametrize("mode", WAITERS)
@pytest.mark.usefixtures("busy_folder")
def test_beside_a_busy_folder_the_wal_is_trimmed_in_time(
    db: str, connect: Connect, foreign: Foreign, wait_only: Callable[[str], None], mode: str
) -> None:
    connect("boss:s")
    wait_only(mode)

    foreign.execute("CREATE TABLE ballast AS SELECT zeroblob(1 << 20) AS bytes")
    assert Path(f"{db}-wal").stat().st_size > 1 << 20

    wait_until(lambda: Path(f"{db}-wal").stat().st_size == 0, "an empty WAL", IN_TIME_S)


@pytest.mark.usefixtures("busy_folder")
def test_a_bus_that_is_written_all_the_time_has_its_wal_trimmed_too(
    db: str, connect: Connect, foreign: Foreign, wait_only: Callable[[str], None]
) -> None:
    boss = connect("boss:s")
    wait_only("listen")
    foreign.execute("CREATE TABLE ballast AS SELECT zeroblob(4 << 20) AS bytes")

    def send_and_look() -> bool:
        boss.send("worker:s", "note")
        return Path(f"{db}-wal").stat().st_size < 1 << 20

    wait_until(send_and_look, "a short WAL", IN_TIME_S)


@pytest.mark.parametrize("mode", WAITERS)
@pytest.mark.usefixtures("busy_folder")
def test_beside_a_busy_folder_the_doorbells_of_the_dead_are_swept_in_time(
    db: str, connect: Connect, wait_only: Callable[[str], None], mode: str
) -> None:
    connect("boss:s")
    wait_only(mode)
    kept = bells(db)
    folder = Path(f"{db}-bells/dead:s")
    folder.mkdir(parents=True)
    os.mkfifo(folder / "999999-dead")
    (folder.parent / "empty:s").mkdir()

    wait_until(lambda: bells(db) == kept, "the sweep", IN_TIME_S)


def test_a_doorbell_that_its_process_has_not_finished_is_swept_after_five_seconds(
    db: str, connect: Connect, wait_only: Callable[[str], None]
) -> None:
    connect("boss:s")
    wait_only("listen")
    kept = bells(db)
    folder = Path(f"{db}-bells/dead:s")
    folder.mkdir()
    made_at = time.monotonic()
    os.mkfifo(folder / f"{TEMPORARY_PREFIX}999999-half")
    os.mkfifo(folder / f"{TEMPORARY_PREFIX}999999-later")
    later = time.time() + 3600
    os.utime(folder / f"{TEMPORARY_PREFIX}999999-later", (later, later))

    wait_until(lambda: not (folder / f"{TEMPORARY_PREFIX}999999-later").exists(), "the sweep", IN_TIME_S)
    wait_until(lambda: bells(db) == kept, "the sweep", 5 + IN_TIME_S)

    assert time.monotonic() - made_at > 4.9


@pytest.mark.parametrize("mode", ["listen", "subscribe", "tail"])
def test_when_the_watcher_is_killed_a_process_that_hardly_ever_polls_takes_over_within_a_second(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign, mode: str
) -> None:
    connect("boss:s")
    elected = spawn("subscriber", db, "elected:s", json.dumps({"poll_interval_s": RARELY}))
    wait_for_watch(db, elected)
    heir = spawn("subscriber", db, "heir:s", json.dumps({"mode": mode, "poll_interval_s": RARELY}))
    wait_for_waiting(db, "*" if mode == "tail" else "heir:s")

    elected.kill()
    wait_until(lambda: watcher(db) == heir.pid, "the next watcher", IN_TIME_S)
    foreign.send("heir:s", "from a client that does not ring")

    assert heir.read(IN_TIME_S)["body"] == "from a client that does not ring"


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_a_doorbell_that_was_deleted_is_replaced_within_a_second_and_its_mail_is_taken(
    db: str, connect: Connect, spawn: Spawn, mode: str
) -> None:
    boss = connect("boss:s")
    program = spawn("subscriber", db, "worker:s", json.dumps({"mode": mode, "poll_interval_s": RARELY}))
    wait_for_waiting(db, "worker:s")
    [doorbell] = Path(f"{db}-bells/worker:s").iterdir()
    doorbell.unlink()

    boss.send("worker:s", "note", "unheard")

    assert program.read(IN_TIME_S)["body"] == "unheard"


def test_a_relay_trims_the_wal_once_the_bus_is_idle_and_not_before(db: str, connect: Connect, foreign: Foreign) -> None:
    boss = connect("boss:s")
    foreign.execute("CREATE TABLE ballast AS SELECT zeroblob(1 << 20) AS bytes")
    maintenance = Maintenance(boss._doorbells, lambda store: None, trims_idle=True)
    sizes = []

    for is_busy in (True, True, False):
        if is_busy:
            boss.send("worker:s", "note")
        maintenance._trim_at = 0.0
        maintenance.run_due(boss._store)
        sizes.append(boss._store.wal_size() > 1 << 20)

    assert sizes == [True, True, False]
