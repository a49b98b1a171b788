"""The turnstile: one writer at a time, no writer that is stopped, forked or foreign keeps the others out."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from raven.files.turnstile import SUFFIX, Turn
from scripts.harness.deadline import Limit
from tests.support import DEADLINE_S, Program, wait_until

Spawn = Callable[..., Program]


@pytest.fixture
def db(tmp_path: Path) -> str:
    path = tmp_path / "bus.db"
    path.touch(0o600)
    return str(path)


@pytest.fixture
def first(db: str) -> Iterator[Turn]:
    """Return the turn of the first writer, which may try to begin."""
    turn = Turn(db, DEADLINE_S)
    assert turn.may_try()
    yield turn
    turn.leave()


def test_the_second_writer_waits_until_the_first_has_begun(db: str, first: Turn) -> None:
    second, tried = Turn(db, DEADLINE_S), threading.Event()

    def wait() -> None:
        assert second.wait()
        tried.set()

    assert not second.may_try()
    thread = threading.Thread(target=wait)
    thread.start()
    for _ in range(20):
        assert first.wait()  # still looking, as its times say
        assert not tried.is_set()
    first.leave()

    assert tried.wait(DEADLINE_S)
    thread.join(DEADLINE_S)
    assert not Turn(db, 0).may_try()
    second.leave()
    assert Turn(db, 0).may_try()


def test_a_wait_ends_with_its_timeout(db: str, first: Turn) -> None:
    began = time.monotonic()

    assert not Turn(db, 0.05).wait()

    assert 0.05 <= time.monotonic() - began < Limit(5)
    assert Turn(db, 0).pause_s() is None


def test_the_oldest_waiter_looks_most_often(db: str, first: Turn) -> None:
    old, new = Turn(db, DEADLINE_S), Turn(db, DEADLINE_S)
    old._began -= 1

    pauses = [(old.pause_s() or 0, new.pause_s() or 0) for _ in range(200)]

    assert 3 * sum(pause for pause, _ in pauses) < sum(pause for _, pause in pauses)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_stopped_or_killed_holder_keeps_no_other_out(db: str, spawn: Spawn, number: signal.Signals) -> None:
    holder = spawn("turn_holder", db)
    assert holder.read() == "first"
    holder.signal(number)

    turn = Turn(db, DEADLINE_S)
    began = time.monotonic()

    assert turn.wait()
    assert time.monotonic() - began < Limit(5)
    if number == signal.SIGSTOP:
        # It has lost its turn, and gets another after this one.
        holder.signal(signal.SIGCONT)
        assert not Turn(db, 0).may_try()
    turn.leave()
    assert Turn(db, 0).may_try()


def test_a_child_that_is_forked_meanwhile_does_not_hold_the_turn(db: str, first: Turn) -> None:
    ready, to_child = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(ready[1], b"!")
        os.read(to_child[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    first.leave()

    assert Turn(db, 0).may_try()

    os.write(to_child[1], b"!")
    os.waitpid(child, 0)
    for descriptor in (*ready, *to_child):
        os.close(descriptor)


def test_the_file_is_closed_to_others_and_is_made_again_if_it_is_removed(db: str, first: Turn) -> None:
    path = db + SUFFIX
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    os.unlink(path)

    second = Turn(db, DEADLINE_S)
    assert second.may_try()
    assert not Turn(db, 0).may_try()
    second.leave()


def damage(path: str, way: str) -> None:
    """Put something else at the path of the turnstile."""
    if way == "symlink":
        Path(f"{path}.target").touch(0o600)
        os.symlink(f"{path}.target", path)
    elif way == "hard link":
        Path(f"{path}.target").touch(0o600)
        os.link(f"{path}.target", path)
    elif way == "folder":
        os.mkdir(path)
    elif way == "FIFO":
        os.mkfifo(path, 0o600)
    elif way == "open to others":
        Path(path).touch()
        os.chmod(path, 0o666)
    elif way == "of another user":
        Path(path).touch(0o600)
        os.chown(path, 3001, 3001)


@pytest.mark.parametrize(
    "way", ["symlink", "hard link", "folder", "FIFO", "open to others", "of another user", "no folder"]
)
def test_where_the_file_does_not_count_writers_wait_without_turns(db: str, way: str) -> None:
    if way == "of another user" and os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    db = f"{db}/none" if way == "no folder" else db
    damage(db + SUFFIX, way)
    one, two = Turn(db, 0.05), Turn(db, DEADLINE_S)

    assert one.may_try()
    assert two.may_try()
    while one.wait():
        pass
    assert two.wait()


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_to_the_bus_file_does_not_cost_this_process_its_locks_on_it(
    db: str, link: Callable[[str, str], None]
) -> None:
    link(db, db + SUFFIX)
    with open(db, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)

        turn = Turn(db, DEADLINE_S)
        assert turn.may_try()
        turn.leave()

        child = os.fork()
        if not child:
            with open(db, "r+b") as other, suppress(OSError):
                fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


def test_a_truncated_file_serves_as_well(db: str, first: Turn) -> None:
    os.truncate(db + SUFFIX, 0)

    assert not Turn(db, 0).may_try()
    wait_until(first.wait, "the turn")
