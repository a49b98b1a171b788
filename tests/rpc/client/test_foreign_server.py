"""A client sends nothing to a server of another user, and no other user can keep a server from starting."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from raven import BindError, ForbiddenError
from raven_rpc import Client
from raven_rpc.jsonrpc.unix_socket import ListeningSocket
from tests.cli.shell import Shell
from tests.failed_start import refusal
from tests.rpc_server import Served
from tests.support import Program

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
]
Serve = Callable[..., Served]
Spawn = Callable[..., Program]
STRANGER = 3001


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Make a folder that every user can reach and write, as /tmp; those above `tmp_path` are closed."""
    with TemporaryDirectory() as name:
        os.chmod(name, 0o1777)
        yield Path(name)


@pytest.fixture
def squatter(spawn: Spawn, open_folder: Path) -> tuple[str, Program]:
    """Let another user listen at the place of a server's socket."""
    path = str(open_folder / "bus.db.sock")
    program = spawn("listener", STRANGER, path)
    assert program.read() == "listening"
    return path, program


REFUSED = "runs as user 3001, who would read what you send: choose another socket, or set RAVEN_TRUSTED_UIDS=3001"


def test_a_client_sends_nothing_to_another_users_server(squatter: tuple[str, Program]) -> None:
    path, program = squatter

    with Client(path, "boss:s") as client, pytest.raises(ForbiddenError, match=f"server at {path} {REFUSED}"):
        client.send("worker:s", "secret", "hunter2")
    assert program.read() == ""


def test_a_loop_of_a_client_sends_nothing_to_another_users_server(squatter: tuple[str, Program]) -> None:
    path, program = squatter

    async def wait() -> None:
        with Client(path, "boss:s") as client:
            async for _ in client.subscribe():
                break

    with pytest.raises(ForbiddenError, match=REFUSED):
        asyncio.run(wait())
    assert program.read() == ""


def test_a_request_of_a_client_sends_nothing_to_another_users_server(squatter: tuple[str, Program]) -> None:
    path, program = squatter

    async def ask() -> None:
        with Client(path, "boss:s") as client:
            await client.request_async("worker:s", "secret", "hunter2", timeout_s=5)

    with pytest.raises(ForbiddenError, match=REFUSED):
        asyncio.run(ask())
    assert program.read() == ""


@pytest.mark.parametrize(
    "command", [("send", "--from", "a:s", "--to", "b:s", "-t", "x"), ("inbox", "-a", "b:s"), ("call", "ping")]
)
def test_a_command_sends_nothing_to_another_users_server(
    squatter: tuple[str, Program], tmp_path: Path, command: tuple[str, ...]
) -> None:
    path, program = squatter

    assert REFUSED in Shell(tmp_path).error(1, *command, RAVEN_SOCKET=path)
    assert program.read() == ""


def test_a_client_uses_the_server_of_a_trusted_user(
    squatter: tuple[str, Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, program = squatter
    monkeypatch.setenv("RAVEN_TRUSTED_UIDS", "3001")

    with Client(path) as client:
        assert client.call("ping", {}) == "pong"
    assert "ping" in program.read()


def test_a_server_does_not_start_where_another_user_listens(squatter: tuple[str, Program], db: str) -> None:
    path, _ = squatter

    assert f"{path} is a socket of user 3001: choose another path" in refusal("--db", db, "--socket", path)


def test_a_server_starts_while_another_user_locks_its_folder(serve: Serve, open_folder: Path, tmp_path: Path) -> None:
    script = "import fcntl, os, sys; fcntl.flock(os.open('.', os.O_RDONLY), fcntl.LOCK_EX); print(flush=True); input()"
    command = ["setpriv", "--reuid=3001", "--regid=3001", "--clear-groups", "/usr/bin/env", "python3", "-c", script]
    with subprocess.Popen(command, cwd=open_folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as locker:
        assert locker.stdout
        locker.stdout.readline()
        served = serve(socket_path=str(open_folder / "s.sock"))
        assert served.ask("ping") == "pong"
        locker.communicate("\n")
    assert served.stop() == 0
    assert list(open_folder.iterdir()) == [open_folder / "s.sock.log"]


def test_a_lock_file_that_another_user_made_is_refused_with_its_owner(open_folder: Path, db: str) -> None:
    path = open_folder / "s.sock"
    lock = open_folder / "s.sock.lock"
    lock.touch(0o666)
    os.chown(lock, STRANGER, STRANGER)

    said = refusal("--db", db, "--socket", str(path))
    assert f"{lock} belongs to user 3001: remove it" in said
    assert lock.exists()


def test_a_lock_of_ones_own_program_is_waited_for_and_named(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raven_rpc.jsonrpc.unix_socket._LOCK_TIMEOUT_S", 0.1)
    lock = open_folder / "s.sock.lock"
    with lock.open("w") as holder:
        lock.chmod(0o600)
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(BindError, match=f"{lock} is locked by another program"):
            ListeningSocket(str(open_folder / "s.sock"))
