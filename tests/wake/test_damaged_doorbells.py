"""Doorbells replaced by other files: the user's files stay untouched, and a new doorbell soon exists."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raven import BusClient
from raven.host.bus import HostedBus
from raven.wake.doorbell import Doorbells
from raven.wake.listener import Listener
from raven.wake.watcher import LOCK_NAME
from scripts.harness.deadline import Limit
from scripts.stress.processes.damaged_doorbells import holds_lock
from tests.loop import taken
from tests.processes import bound_by_permissions
from tests.support import (
    NEVER_POLLS_S,
    Foreign,
    Program,
    bells,
    is_watched,
    wait_for_waiting,
    wait_until,
    waiting,
)

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
Spawn = Callable[..., Program]
ADDRESS = "worker:s"
SHORT = '{"poll_interval_s": 0.2}'
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the locks of a process")


def grow_old(folder: str) -> None:
    """Set an old modification time, so that raven caches the folder's listing."""
    os.utime(folder, (1, 1))


@pytest.fixture
def home(db: str) -> Path:
    """Return the folder of an address's doorbells, which does not exist yet."""
    return Path(f"{db}-bells") / ADDRESS


@pytest.fixture
def user_folder(tmp_path: Path) -> Iterator[Path]:
    """Create a user's folder, and check that it is unchanged at the end."""
    folder = tmp_path / "user_folder"
    (folder / "empty" / "emptier").mkdir(parents=True)
    (folder / "text").write_text("untouched")
    os.mkfifo(folder / "1-pipe")
    os.mkfifo(folder / "empty" / "2-pipe")
    before = sorted(folder.rglob("*"))

    yield folder

    assert sorted(folder.rglob("*")) == before
    assert (folder / "text").read_text() == "untouched"


def bind_socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as listener:  # a socket's path must be short
        listener.bind(path.name)


PUT: dict[str, Callable[[Path, Path], object]] = {
    "file": lambda path, user_folder: path.write_text("mine"),
    "link to a file": lambda path, user_folder: path.symlink_to(user_folder / "text"),
    "dangling link": lambda path, user_folder: path.symlink_to(user_folder / "nothing"),
    "folder": lambda path, user_folder: path.mkdir(),
    "socket": lambda path, user_folder: bind_socket(path),
    "dead fifo": lambda path, user_folder: os.mkfifo(path),
}


@pytest.mark.parametrize("kind", PUT)
def test_a_replaced_doorbell_stops_no_mail_and_is_recreated_within_a_tick(
    db: str, home: Path, user_folder: Path, connect: Connect, spawn: Spawn, kind: str
) -> None:
    bus = connect("boss:s")
    program = spawn("subscriber", db, ADDRESS, SHORT)
    wait_for_waiting(db, ADDRESS)
    [doorbell] = home.iterdir()
    doorbell.unlink()
    PUT[kind](doorbell, user_folder)

    began = time.monotonic()
    bus.send(ADDRESS, "note", "damaged")
    assert time.monotonic() - began < Limit(2)
    assert program.read()["body"] == "damaged"
    wait_for_waiting(db, ADDRESS)
    bus.send(ADDRESS, "note", "after")
    assert program.read()["body"] == "after"

    assert kind != "file" or doorbell.read_text() == "mine"


def test_a_foreign_file_in_the_place_of_a_doorbell_is_not_removed_with_it(db: str, home: Path) -> None:
    doorbell = Doorbells(db).create(ADDRESS)
    [path] = home.iterdir()
    path.unlink()
    path.write_text("mine")

    doorbell.close()

    assert path.read_text() == "mine"


@linux_only
@pytest.mark.parametrize("damage", ["a link to the folder", "a link", "a hard link"])
def test_a_ring_never_opens_the_database(db: str, home: Path, connect: Connect, damage: str) -> None:
    bus = connect("boss:s")
    home.parent.mkdir(exist_ok=True)
    if damage == "a link to the folder":
        home.symlink_to(Path(db).parent)
    elif damage == "a link":
        home.mkdir()
        (home / "1-bell").symlink_to(db)
    else:
        home.mkdir()
        os.link(db, home / "1-bell")

    bus.send(ADDRESS, "note")
    Doorbells(db).ring_all()
    Doorbells(db).sweep()

    assert waiting(db, ADDRESS) == 0
    assert holds_lock(Path(db)) is True


@linux_only
def test_a_lock_file_that_is_a_symlink_to_the_database_is_not_opened(db: str, connect: Connect) -> None:
    bus = connect(ADDRESS)
    folder = Path(f"{db}-bells")
    folder.mkdir()
    (folder / LOCK_NAME).symlink_to(db)

    bus.send(ADDRESS, "note", "all the same")
    bodies = [message.body for message in taken(bus, poll_interval_s=0.05)]

    assert bodies == ["all the same"]
    assert holds_lock(Path(db)) is True


@pytest.mark.parametrize("damaged_path", ["bells", "address"])
def test_a_symlink_in_the_place_of_a_folder_is_not_followed(
    db: str, home: Path, user_folder: Path, connect: Connect, spawn: Spawn, foreign: Foreign, damaged_path: str
) -> None:
    bus = connect("boss:s")
    home.parent.mkdir(exist_ok=True)
    if damaged_path == "bells":
        home.parent.rmdir()
        home.parent.symlink_to(user_folder)
    else:
        home.symlink_to(user_folder)
    program = spawn("subscriber", db, ADDRESS, '{"poll_interval_s": 60}')

    for number in range(2):  # by the fallback poll without a FIFO
        bus.send(ADDRESS, "note", number)
        assert program.read()["body"] == number
    foreign.send(ADDRESS, "foreign")
    assert program.read()["body"] == "foreign"
    Doorbells(db).ring_all()
    Doorbells(db).sweep()

    (home.parent if damaged_path == "bells" else home).unlink()
    wait_for_waiting(db, ADDRESS)


def test_an_unwritable_bells_folder_stops_no_mail_and_doorbells_exist_once_it_is_writable(
    db: str, connect: Connect, spawn: Spawn
) -> None:
    bus = connect("boss:s")
    folder = Path(f"{db}-bells")
    folder.mkdir(mode=0o500)
    program = bound_by_permissions(lambda: spawn("subscriber", db, ADDRESS, '{"poll_interval_s": 60}'))

    bus.send(ADDRESS, "note", "deaf")
    assert program.read()["body"] == "deaf"
    assert waiting(db, ADDRESS) == 0
    folder.chmod(0o700)

    wait_for_waiting(db, ADDRESS)
    bus.send(ADDRESS, "note", "rung")
    assert program.read()["body"] == "rung"


def test_when_the_bells_folder_is_replaced_another_wal_watcher_is_elected(
    db: str, connect: Connect, spawn: Spawn
) -> None:
    connect("boss:s")
    spawn("subscriber", db, ADDRESS, SHORT)
    wait_until(lambda: is_watched(db), "the watch")

    shutil.rmtree(f"{db}-bells", ignore_errors=True)
    second = spawn("subscriber", db, "second:s", SHORT)

    wait_for_waiting(db, "second:s")
    wait_until(lambda: is_watched(db), "a watch under the new lock")
    second.kill()


def test_a_ring_without_a_free_descriptor_does_not_lose_the_next_ones(db: str) -> None:
    doorbells, doorbell = Doorbells(db), Doorbells(db).create(ADDRESS)
    grow_old(doorbells.folder_for(ADDRESS))

    with no_descriptors():
        assert doorbells.ring([ADDRESS]) == []

    assert doorbells.ring([ADDRESS]) == [ADDRESS]
    assert doorbell.wait(5)
    doorbell.close()


def test_a_sweep_without_a_free_descriptor_leaves_the_work_to_the_next(db: str, home: Path) -> None:
    home.mkdir(parents=True)
    os.mkfifo(home / "1-dead")

    with no_descriptors():
        Doorbells(db).sweep()
    assert bells(db) == [ADDRESS, f"{ADDRESS}/1-dead"]

    Doorbells(db).sweep()
    assert bells(db) == []


def test_a_listener_without_a_free_descriptor_polls_and_later_rings_again(hosted: Hosted, db: str) -> None:
    bus = hosted(ADDRESS)
    bus.pull_subscription().close()
    bus.send(ADDRESS, "note")
    with no_descriptors():
        subscription = bus.pull_subscription()
        assert len(subscription.fetch(10)) == 1
        assert subscription.listener.has_no_fifo

    subscription.listener.tick()

    assert waiting(db, ADDRESS) == 1
    bus.send(ADDRESS, "note")
    assert subscription.listener.wait(NEVER_POLLS_S)
    subscription.close()


def test_a_listener_without_a_descriptor_for_an_import_has_no_fifo_until_there_is_one(db: str, spawn: Spawn) -> None:
    assert spawn("no_descriptors", db, ADDRESS).read() == [True, False]


def test_a_forked_childs_copy_of_a_listener_reads_from_none_of_the_childs_descriptors(db: str, spawn: Spawn) -> None:
    assert spawn("forked_listener", db, ADDRESS).read() == {"left": "mine", "bells": 1}


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open no file; imports meanwhile must already be loaded."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_in_the_place_of_a_listed_doorbell_is_not_written_to(db: str) -> None:
    doorbells = Doorbells(db)
    doorbell = doorbells.create("worker:a")
    folder = Path(doorbells.folder_for("worker:a"))
    grow_old(str(folder))
    assert doorbells.ring(["worker:a"]) == ["worker:a"]
    [path] = folder.iterdir()

    path.unlink()
    path.write_text("mine")
    grow_old(str(folder))

    assert doorbells.ring(["worker:a"]) == []
    assert path.read_text() == "mine"
    doorbell.close()


def test_no_lock_file_is_opened_through_a_symlink(db: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", f"{db}-bells")

    with pytest.raises(PermissionError, match="is a symlink, not a folder"):
        Doorbells(db).open_lock("watch.lock")

    assert not list((tmp_path / "elsewhere").iterdir())


def test_without_the_buss_folder_no_doorbell_can_be_created(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Doorbells(str(tmp_path / "gone" / "bus.db")).create("worker:a")

    assert not list(tmp_path.iterdir())


def test_a_listener_whose_bells_folder_became_a_symlink_has_no_fifo_after_its_next_tick(
    db: str, tmp_path: Path, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    bus = connect("worker:a")
    listener = Listener(bus._handle, "worker:a", elect=False)
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(f"{db}-bells")
    os.symlink(tmp_path / "elsewhere", f"{db}-bells")

    with caplog.at_level(logging.WARNING, logger="raven"):
        listener.tick()
    listener.drain()

    assert listener.has_no_fifo
    assert not listener.wait(60)
    assert [record.message.partition(" (")[0] for record in caplog.records] == [f"no doorbell at {db}-bells"]
    listener.close()
