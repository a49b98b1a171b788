"""Files at the path of the server's socket: a stale socket is replaced, anything else is left alone."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from raven import BindError
from raven_rpc.jsonrpc.unix_socket import ListeningSocket
from tests.failed_start import environment, refusal, serve_command
from tests.rpc_server import Line, Served
from tests.support import Program, wait_until

pytestmark = pytest.mark.process
Serve = Callable[..., Served]
Spawn = Callable[..., Program]


def listener(path: str | Path) -> socket.socket:
    """Listen as a program that is no server."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    return listener


def leave_stale(path: str) -> None:
    listener(path).close()


# Paths that it replaces


def test_the_socket_of_a_live_server_is_not_replaced(serve: Serve, db: str) -> None:
    served = serve()

    line = refusal("--db", db)

    assert served.path in line
    assert "another server is listening" in line
    assert served.ask("stats")["pid"] == served.pid


def test_of_many_that_find_a_stale_socket_at_one_moment_exactly_one_wins(spawn: Spawn, tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    leave_stale(path)
    binders = [spawn("binder") for _ in range(4)]

    for _ in range(300):
        at = time.monotonic() + 0.003
        for binder in binders:
            binder.tell([path, at])
        winners = [binder for binder in binders if binder.read() is None]
        assert len(winners) == 1
        Line(path).close()
        assert winners[0].ask(None) is None


# Paths that it leaves alone


def test_a_file_or_a_folder_at_the_path_is_left_alone(db: str, tmp_path: Path) -> None:
    file, folder = tmp_path / "file.sock", tmp_path / "folder.sock"
    file.write_text("precious")
    folder.mkdir()

    for path, kind in ((file, "a file"), (folder, "a folder")):
        assert f"{path} is {kind}" in refusal("--db", db, "--socket", str(path))
    assert file.read_text() == "precious"
    assert folder.is_dir()


@pytest.mark.parametrize("target", ["nowhere", "stale.sock", "bus.db"])
def test_a_symlink_at_the_path_is_left_alone_whatever_it_points_to(db: str, tmp_path: Path, target: str) -> None:
    leave_stale(str(tmp_path / "stale.sock"))
    path = tmp_path / "s.sock"
    path.symlink_to(target)

    assert f"{path} is a symlink" in refusal("--db", db, "--socket", str(path))
    assert os.readlink(path) == target
    assert stat.S_ISSOCK(os.lstat(tmp_path / "stale.sock").st_mode)
    assert not (tmp_path / "nowhere").exists()


def test_the_socket_of_another_program_that_listens_is_left_alone(db: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with listener(path):
        before = os.lstat(path)

        refusal("--db", db, "--socket", str(path))

        assert os.path.samestat(os.lstat(path), before)


def test_a_socket_of_another_kind_in_the_place_of_the_server_s_is_left_there(tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))

        with pytest.raises(BindError, match="another program's socket is at"):
            ListeningSocket(str(path))

        assert path.is_socket()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_socket_that_may_not_be_asked_is_left_alone(spawn: Spawn) -> None:
    # Not in tmp_path: the folders above that are closed to other users.
    with TemporaryDirectory() as folder:
        path = f"{folder}/s.sock"
        leave_stale(path)
        os.chmod(path, 0o600)
        os.chmod(folder, 0o777)

        reason = spawn("binder", pwd.getpwnam("nobody").pw_uid).ask([path, 0])

        assert f"another program's socket is at {path}" in reason
        assert stat.S_ISSOCK(os.lstat(path).st_mode)


def test_a_program_that_has_locked_the_folder_cannot_make_it_wait_for_ever(db: str) -> None:
    folder = os.open(os.path.dirname(db), os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    process = subprocess.Popen(serve_command("--db", db), stderr=subprocess.PIPE, text=True, env=environment())
    try:
        wait_until(lambda: process.poll() is not None or os.path.lexists(f"{db}.sock"), "a start, or a refusal")
        assert process.poll() in (None, 7)
    finally:
        os.close(folder)
        process.kill()
        process.communicate()
