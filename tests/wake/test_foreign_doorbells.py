"""Doorbells of another user: they are neither rung nor counted, and no subscriber puts its own among them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raven import BusClient
from raven.wake.doorbell import Doorbells
from raven.wake.watcher import LOCK_NAME

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
STRANGER = 3001
ADDRESS = "worker:s"


class Spy:
    """Another user's doorbell at an address, in folders that may be that user's, too."""

    def __init__(self, db: str, *, foreign: tuple[str, ...]) -> None:
        bells, address = Path(f"{db}-bells"), Path(f"{db}-bells/{ADDRESS}")
        fifo = address / "1-spy"
        for folder in (bells, address):
            folder.mkdir(mode=0o700, exist_ok=True)
        os.mkfifo(fifo)
        for name, path in (("bells", bells), ("address", address), ("fifo", fifo)):
            path.chmod(0o777 if name in foreign else 0o600 if name == "fifo" else 0o700)
            os.chown(path, *[STRANGER if name in foreign else -1] * 2)
        self.reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self._keep_open = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)

    def heard(self) -> bytes:
        """Return what came through the pipe."""
        try:
            return os.read(self.reader, 100)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self.reader)
        os.close(self._keep_open)


@pytest.fixture
def spy(db: str) -> Iterator[Callable[..., Spy]]:
    """Make spies that are closed at the end."""
    spies: list[Spy] = []

    def make(*foreign: str) -> Spy:
        spies.append(Spy(db, foreign=foreign))
        return spies[-1]

    yield make
    for one in spies:
        one.close()


def test_a_doorbell_of_ones_own_is_rung(db: str, spy: Callable[..., Spy]) -> None:
    bell = spy()

    with BusClient.at("boss:s", db) as bus:
        assert bus.send(ADDRESS, "note", "x").waiting == {ADDRESS: True}
    assert bell.heard() == b"!"


@pytest.mark.parametrize("foreign", [("fifo",), ("address",), ("address", "fifo"), ("bells",), ("bells", "address")])
def test_a_doorbell_of_another_user_is_neither_rung_nor_counted(
    db: str, spy: Callable[..., Spy], foreign: tuple[str, ...]
) -> None:
    bell = spy(*foreign)
    doorbells = Doorbells(db)

    with BusClient.at("boss:s", db) as bus:
        assert bus.send(ADDRESS, "note", "x").waiting == {ADDRESS: False}
        assert doorbells.count_waiting(ADDRESS) == 0
        doorbells.ring_all()
        doorbells.sweep()
        assert bell.heard() == b""


def test_a_doorbell_that_another_user_may_read_is_not_rung(db: str, spy: Callable[..., Spy]) -> None:
    bell = spy()
    Path(f"{db}-bells/{ADDRESS}/1-spy").chmod(0o604)

    assert Doorbells(db).ring([ADDRESS]) == []
    assert bell.heard() == b""


@pytest.mark.parametrize("foreign", [("bells", "address"), ("address",)])
def test_a_subscriber_goes_without_a_doorbell_where_the_folder_is_another_users_and_says_so(
    db: str, spy: Callable[..., Spy], caplog: pytest.LogCaptureFixture, foreign: tuple[str, ...]
) -> None:
    spy(*foreign)
    place = Path(f"{db}-bells") if "bells" in foreign else Path(f"{db}-bells/{ADDRESS}")

    caplog.set_level(logging.WARNING, "raven")
    with BusClient.at("boss:s", db) as boss, BusClient.at(ADDRESS, db) as worker:
        loop = worker.listen(timeout_s=20)
        boss.send(ADDRESS, "note", "heard all the same")
        assert next(loop).body == "heard all the same"
        loop.close()
    assert f"{place} belongs to user 3001: remove it" in caplog.text
    assert "polling every 0.1 s instead" in caplog.text
    assert os.listdir(f"{db}-bells/{ADDRESS}") == ["1-spy"]


def test_a_subscriber_hears_by_its_doorbell_once_the_folder_of_the_other_user_is_gone(
    db: str, spy: Callable[..., Spy]
) -> None:
    spy("address")
    doorbells = Doorbells(db)
    with pytest.raises(PermissionError, match="belongs to user 3001"):
        doorbells.create(ADDRESS)

    os.unlink(f"{db}-bells/{ADDRESS}/1-spy")
    os.rmdir(f"{db}-bells/{ADDRESS}")
    bell = doorbells.create(ADDRESS)
    assert doorbells.ring([ADDRESS]) == [ADDRESS]
    assert bell.wait(5)
    bell.close()


@pytest.mark.parametrize("place", ["bells", "lock"])
def test_no_process_watches_under_a_lock_that_another_user_holds(db: str, place: str) -> None:
    bells = Path(f"{db}-bells")
    bells.mkdir(mode=0o700)
    (bells / LOCK_NAME).touch(0o600)
    os.chown(bells if place == "bells" else bells / LOCK_NAME, STRANGER, STRANGER)

    with pytest.raises(PermissionError, match="belongs to user 3001"):
        Doorbells(db).open_lock(LOCK_NAME)


def test_doorbells_of_a_trusted_user_are_rung(
    db: str, spy: Callable[..., Spy], monkeypatch: pytest.MonkeyPatch
) -> None:
    bell = spy("fifo")
    Path(f"{db}-bells/{ADDRESS}/1-spy").chmod(0o600)
    monkeypatch.setenv("RAVEN_TRUSTED_UIDS", str(STRANGER))

    assert Doorbells(db).ring([ADDRESS]) == [ADDRESS]
    assert bell.heard() == b"!"
