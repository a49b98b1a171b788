"""Announced: one list of a session's messages for all its processes, which no file in its place can harm."""

from __future__ import annotations

import fcntl
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raven import InputError
from raven_mcp.session.announced import Announced, is_native_id
from scripts.harness.deadline import Limit


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "bus.db")


@pytest.fixture
def path(db: str) -> Path:
    return Path(f"{db}-bells/flags/one.announced")


def test_of_many_that_announce_a_message_one_is_first(db: str) -> None:
    sessions = [Announced(db, "one") for _ in range(16)]

    with ThreadPoolExecutor(16) as pool:
        claimed = list(pool.map(lambda session: session.claim(range(1, 51)), sessions))

    assert sorted(one for ids in claimed for one in ids) == list(range(1, 51))
    assert sessions[0].ids() == set(range(1, 51))


def test_sessions_have_lists_of_their_own(db: str) -> None:
    assert Announced(db, "one").claim([7]) == [7]
    assert Announced(db, "other").claim([7, 8]) == [7, 8]
    assert Announced(db, "one").ids() == {7}


def test_what_is_forgotten_is_announced_again(db: str, path: Path) -> None:
    session = Announced(db, "one")
    session.claim([7])

    session.forget()

    assert not path.exists()
    assert session.claim([7]) == [7]


def test_a_file_that_grows_long_keeps_the_newest_messages(db: str, path: Path) -> None:
    session = Announced(db, "one")
    for first in range(1, 20_001, 1000):
        session.claim(range(first, first + 1000))

    assert path.stat().st_size < 2 * (1 << 16)
    assert {19_500, 20_000} <= Announced(db, "one").ids()
    assert 1 not in Announced(db, "one").ids()


def test_the_file_is_for_this_user_only(db: str, path: Path) -> None:
    Announced(db, "one").claim([7])

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_holder_of_the_lock_that_is_stopped_delays_no_session_for_long(db: str, path: Path) -> None:
    Announced(db, "one").claim([7])
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    began = time.monotonic()

    assert Announced(db, "one").claim([7, 8]) == [8]

    assert time.monotonic() - began < Limit(0.5)
    os.close(holder)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_another_kind_of_file_in_its_place_is_left_alone(db: str, path: Path, make: object) -> None:
    assert callable(make)
    path.parent.mkdir(parents=True, mode=0o700)
    path.parent.parent.chmod(0o700)
    make(path)

    session = Announced(db, "one")

    assert session.ids() == set()
    assert session.claim([7], lasting=True) == []
    assert session.claim([7]) == [7]  # this process remembers it
    assert session.claim([7]) == []
    assert not (path.parent / "elsewhere").exists()


def test_lines_that_are_no_ids_do_not_count(db: str, path: Path) -> None:
    Announced(db, "one").claim([7])
    path.write_bytes(path.read_bytes() + b"x\n-3\n\xff\n" + b"9" * 400 + b"\n8\n")

    assert Announced(db, "one").ids() == {7, 8}


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "a\n", "ä", "s" * 129, None, 7])
def test_a_name_that_cannot_be_that_of_a_file_is_refused(db: str, name: object) -> None:
    assert not is_native_id(name)
    with pytest.raises(InputError, match="must be 1 to 128 letters, digits, '_' and '-'"):
        Announced(db, name)  # type: ignore[arg-type]
