"""The server's socket: its mode and owner from the first instant, the length of its path, and its removal."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.failed_start import refusal
from tests.rpc_server import Line, Served
from tests.support import Program

pytestmark = pytest.mark.process
Serve = Callable[..., Served]
Spawn = Callable[..., Program]

# What `sun_path` holds besides its closing NUL.
LONGEST = 107 if sys.platform == "linux" else 103

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode_of(path: str) -> str:
    mode_bits = os.lstat(path).st_mode
    assert stat.S_ISSOCK(mode_bits)
    return oct(stat.S_IMODE(mode_bits))


def nobody() -> int:
    return pwd.getpwnam("nobody").pw_uid


def visit(spawn: Spawn, served: Served, uid: int) -> Any:
    """Ping a server as another user, and return the received lines."""
    os.chmod(os.path.dirname(served.path), 0o755)
    return spawn("connector", uid, served.path).read()


# Whose it is


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_the_socket_is_open_to_its_owner_alone_under_any_umask(serve: Serve, db: str, mask: int) -> None:
    serve().kill()  # makes the bus

    with umask(mask):
        served = serve()

    assert mode_of(served.path) == "0o600"
    assert served.ask("ping") == "pong"


def test_no_other_mode_is_ever_seen_while_sockets_are_made(spawn: Spawn, tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    watcher = spawn("mode_poller", path)
    assert watcher.read() == 1
    binder = spawn("binder", umask=0)

    for _ in range(1000):
        assert binder.ask([path, 0]) is None
        assert binder.ask(None) is None
        os.unlink(path)

    modes, checks = watcher.ask(None)
    assert checks > 1000
    assert modes == ["0o600"]


def test_no_other_mode_is_ever_seen_while_servers_start(serve: Serve, spawn: Spawn, db: str) -> None:
    serve().kill()
    watcher = spawn("mode_poller", f"{db}.sock")
    assert watcher.read() == 1

    with umask(0):
        for _ in range(5):
            serve().kill()

    assert watcher.ask(None)[0] == ["0o600"]


def test_others_may_connect_once_a_uid_is_allowed(serve: Serve) -> None:
    assert mode_of(serve("--allow-uid", "12345").path) == "0o666"


def test_allowing_the_own_uid_opens_the_socket_to_no_other_user(serve: Serve) -> None:
    assert mode_of(serve("--allow-uid", str(os.geteuid())).path) == "0o600"


@only_root
def test_another_user_cannot_even_connect(serve: Serve, spawn: Spawn) -> None:
    assert visit(spawn, serve(), nobody()) == "not permitted"


@only_root
@pytest.mark.parametrize("options", [(), ("--allow-uid", "12345")])
def test_another_user_is_refused_with_one_line_whatever_the_mode(
    serve: Serve, spawn: Spawn, options: tuple[str, ...]
) -> None:
    served = serve(*options)
    os.chmod(served.path, 0o666)

    (answer,) = visit(spawn, served, nobody())

    assert answer["id"] is None
    assert answer["error"]["data"] == {"kind": "forbidden", "retryable": False}
    assert str(nobody()) in answer["error"]["message"]
    assert served.ask("stats")["connections"] == 1


@only_root
def test_a_user_that_is_allowed_is_let_in(serve: Serve, spawn: Spawn) -> None:
    served = serve("--allow-uid", "12345", "--allow-uid", str(nobody()))

    (answer,) = visit(spawn, served, nobody())

    assert answer == {"jsonrpc": "2.0", "result": "pong", "id": 1}


# Where it may be


def test_the_longest_path_works_and_one_byte_more_is_refused(serve: Serve, db: str, tmp_path: Path) -> None:
    longest = str(tmp_path / "s").ljust(LONGEST, "s")

    assert serve(socket_path=longest).ask("ping") == "pong"
    line = refusal("--db", db, "--socket", f"{longest}s")

    assert f"{LONGEST + 1} bytes" in line
    assert f"at most {LONGEST}" in line
    assert "choose a shorter one" in line


def test_the_length_of_a_path_is_counted_in_bytes(db: str, tmp_path: Path) -> None:
    name = "ö" * (LONGEST - len(str(tmp_path)) - 1)

    assert f"{len(str(tmp_path)) + 1 + 2 * len(name)} bytes" in refusal("--db", db, "--socket", f"{tmp_path}/{name}")


def test_a_relative_path_is_that_of_the_working_folder(serve: Serve, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)

    served = serve(socket_path="s.sock")

    with Line(str(tmp_path / "s.sock")) as line:
        assert line.ask("ping") == "pong"
    assert served.stop() == 0
    assert not (tmp_path / "s.sock").exists()


def test_a_folder_that_does_not_exist_is_named(db: str, tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere" / "s.sock")

    line = refusal("--db", db, "--socket", path)

    assert path in line
    assert "No such file or directory" in line
    assert not os.path.exists(os.path.dirname(path))


# Files that remain


def test_what_another_has_put_in_its_place_is_left_there(serve: Serve) -> None:
    served = serve()
    os.unlink(served.path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as another:
        another.bind(served.path)

        assert served.stop() == 0

        assert stat.S_ISSOCK(os.lstat(served.path).st_mode)


def test_a_server_whose_socket_was_removed_still_ends_well(serve: Serve) -> None:
    served = serve()
    os.unlink(served.path)

    assert served.stop() == 0
