"""`raven doctor` and the server's socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.doctor_process import assert_reports, problems, put_file, run_checks
from tests.processes import needs_proc
from tests.rpc_server import Served
from tests.support import DEADLINE_S, wait_until

Serve = Callable[..., Served]
OF_SOMETHING_ELSE = (b"hello\n", b"[1]\n", b"\xff\n", b'{"half": ', b'{"error": "no"}\n')


@pytest.fixture
def listening(bus: str) -> Iterator[socket.socket]:
    """Listen at the server's path as another program."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as one:
        one.bind(f"{bus}.sock")
        one.listen(1)
        yield one


def test_a_server_that_answers_is_ok_and_an_unconfigured_one_is_not_missed(bus: str, serve: Serve) -> None:
    assert "socket" not in run_checks(bus)

    server = serve()

    check = run_checks(bus)["socket"]
    assert check.verdict == "ok"
    assert f"answers at {server.path}" in check.found


@pytest.mark.process
def test_the_socket_of_a_killed_server_is_reported(bus: str, serve: Serve) -> None:
    serve().kill()

    assert_reports(
        run_checks(bus)["socket"], "warn", f"no process listens at {bus}.sock", "raven serve", f"rm {bus}.sock"
    )
    serve()
    assert not problems(run_checks(bus))


@needs_proc
@pytest.mark.process
def test_a_stopped_server_is_named_with_how_to_continue_it(bus: str, serve: Serve) -> None:
    server = serve()
    os.kill(server.pid, signal.SIGSTOP)

    check = run_checks(bus)["socket"]

    assert_reports(check, "warn", f"pid {server.pid} (", "is stopped", f"kill -CONT {server.pid}")
    os.kill(server.pid, signal.SIGCONT)
    wait_until(lambda: not problems(run_checks(bus)), "its going on")


def test_a_server_at_its_connection_limit_is_reported_with_its_error(bus: str, serve: Serve) -> None:
    server = serve("--max-connections", "1")
    with server.connect() as line:
        line.ask("ping")
        full = run_checks(bus)

    assert_reports(full["socket"], "warn", "1 connections are open, which is the limit", "--max-connections")
    wait_until(lambda: not problems(run_checks(bus)), "the end of that connection")


@needs_proc
def test_a_silent_listener_is_reported(bus: str, listening: socket.socket) -> None:
    check = run_checks(bus)["socket"]

    assert_reports(check, "warn", f"pid {os.getpid()} ", f"listens at {bus}.sock and does not answer within 2 s")
    listening.close()
    os.unlink(f"{bus}.sock")
    assert "socket" not in run_checks(bus)


def test_a_socket_with_a_full_queue_is_reported_at_once(bus: str, listening: socket.socket) -> None:
    waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(f"{bus}.sock")

    assert_reports(run_checks(bus)["socket"], "warn", f"the queue at {bus}.sock is full", "kill -CONT", "fuser")
    for one in waiting:
        one.close()


@pytest.mark.parametrize("kind", ["a file", "a folder", "a symlink", "a FIFO"])
def test_a_file_that_is_not_a_socket_is_reported(bus: str, kind: str) -> None:
    path = Path(f"{bus}.sock")
    put_file(path, kind)

    check = run_checks(bus)["socket"]

    assert_reports(check, "warn", f"{path} is {kind}", "no server can listen there")
    subprocess.run(check.remedy.split("`")[1], shell=True, check=True)
    assert "socket" not in run_checks(bus)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket to another user")
def test_a_socket_of_another_user_fails(bus: str, serve: Serve) -> None:
    server = serve()
    os.chown(server.path, 12345, 12345)

    check = run_checks(bus)["socket"]

    assert_reports(check, "fail", f"{server.path} belongs to user 12345", f"rm {server.path}")
    os.chown(server.path, 0, 0)
    assert not problems(run_checks(bus))


@needs_proc
@pytest.mark.process
def test_an_open_mode_is_reported_unless_the_server_allows_other_users(bus: str, serve: Serve) -> None:
    server = serve()
    os.chmod(server.path, 0o666)
    opened = run_checks(bus)
    os.chmod(server.path, 0o600)
    closed = run_checks(bus)
    server.stop()
    serve("--allow-uid", "12345")

    assert_reports(opened["socket"], "warn", "mode 0666", f"chmod 600 {server.path}")
    assert not problems(closed)
    assert not problems(run_checks(bus))


def test_a_folder_in_which_any_user_can_replace_the_socket_is_reported(
    bus: str, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    serve(socket_path=str(folder / "server.sock"))
    monkeypatch.setenv("RAVEN_SOCKET", str(folder / "server.sock"))

    check = run_checks(bus)["socket"]

    assert_reports(check, "warn", f"any user can replace files in {folder}", f"chmod o-w {folder}")
    subprocess.run(check.remedy, shell=True, check=True)
    assert not problems(run_checks(bus))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to another user")
def test_a_symlink_of_another_user_on_the_way_to_the_socket_is_reported(
    bus: str, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    serve(socket_path=str(tmp_path / "real" / "server.sock"))
    monkeypatch.setenv("RAVEN_SOCKET", str(tmp_path / "link" / "server.sock"))
    own = run_checks(bus)
    os.chown(tmp_path / "link", 12345, 12345, follow_symlinks=False)

    check = run_checks(bus)["socket"]

    assert not problems(own)
    assert_reports(check, "warn", f"{tmp_path / 'link'} is a symlink of user 12345", str(tmp_path / "real"))


@pytest.mark.parametrize(("name", "words"), [("gone.sock", "does not exist"), ("x" * 110, "bytes, but the system")])
def test_an_unusable_configured_socket_is_reported(
    bus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.setenv("RAVEN_SOCKET", str(tmp_path / name))
    check = run_checks(bus)["socket"]
    monkeypatch.delenv("RAVEN_SOCKET")

    assert_reports(check, "warn", words, "RAVEN_SOCKET", "raven serve")
    assert not problems(run_checks(bus))


@contextmanager
def answering(path: str, answer: bytes) -> Iterator[None]:
    """Answer the first connection with these bytes, regardless of its request."""

    def run() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)

    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listening:
        listening.bind(path)
        listening.listen(1)
        thread = threading.Thread(target=run)
        thread.start()
        yield
        thread.join(DEADLINE_S)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        *((answer, ["bus.db.sock", "does not use raven's protocol"]) for answer in OF_SOMETHING_ELSE),
        (b'{"error": {"message": "full", "data": {"kind": "limit"}}}\n', ["refuses", "--max-connections"]),
        (b'{"error": {"message": "not you", "data": {"kind": "forbidden"}}}\n', ["refuses", "--allow-uid"]),
        (b'{"error": {"message": "broken"}}\n', ["refuses", "see its log"]),
    ],
)
def test_a_listener_with_an_unexpected_answer_is_reported(bus: str, answer: bytes, words: list[str]) -> None:
    with answering(f"{bus}.sock", answer):
        assert_reports(run_checks(bus)["socket"], "warn", *words)
