"""A server that inherits its listening socket, as from systemd: sd_listen_fds(3)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from raven import BindError
from raven_rpc.jsonrpc.unix_socket import InheritedSocket
from tests.failed_start import environment, refusal
from tests.rpc_server import Line
from tests.support import DEADLINE_S, PROGRAMS, bells, wait_until

Activate = Callable[..., "subprocess.Popen[str]"]


def command(passed: socket.socket | int | None, *options: str, pid: str = "own") -> list[str]:
    number = "none" if passed is None else str(passed if isinstance(passed, int) else passed.fileno())
    return [sys.executable, str(PROGRAMS / "activated.py"), number, "1", pid, *options]


@pytest.fixture
def passed(tmp_path: Path) -> Iterator[socket.socket]:
    """Listen at a path, as systemd does before any server runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        bound.bind(str(tmp_path / "passed.sock"))
        bound.listen()
        yield bound


@pytest.fixture
def activate(db: str, passed: socket.socket) -> Iterator[Activate]:
    """Start servers that inherit the socket."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, pid: str = "own") -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                command(passed, "--db", db, *options, pid=pid),
                pass_fds=[passed.fileno()],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(),
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str]) -> None:
    """Stop a server, which must exit with code 0."""
    process.terminate()
    _, output = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, output) == (0, "")


def connected(path: str) -> Line | None:
    """Return a connection to a socket, or None: the socket exists a moment before the server listens at it."""
    with suppress(FileNotFoundError, ConnectionRefusedError):
        return Line(path)
    return None


def test_a_connection_that_came_before_the_server_is_served_at_the_path_it_reports(
    passed: socket.socket, activate: Activate, db: str
) -> None:
    with Line(passed.getsockname()) as line:
        line.tell("ping", id=1)
        process = activate()

        assert line.answer()["result"] == "pong"
        assert line.ask("stats")["pid"] == process.pid
    assert process.stdout
    assert process.stdout.readline() == f"listening at {passed.getsockname()}\n"
    assert not os.path.lexists(f"{db}.sock")


def test_the_socket_stays_and_the_next_server_serves_the_clients_that_came_between(
    passed: socket.socket, activate: Activate, db: str
) -> None:
    path = passed.getsockname()
    before = os.lstat(path)
    first = activate()
    with Line(path) as line:
        line.ask("subscribe", {"role": "worker:s"})
        stop(first)
        assert line.read() is None
    assert os.path.samestat(os.lstat(path), before)
    assert stat.S_ISSOCK(before.st_mode)
    assert bells(db) == []

    with Line(path) as line:
        line.tell("stats", id=1)
        second = activate()

        assert line.answer()["result"]["pid"] == second.pid


def test_what_is_passed_to_another_process_is_ignored(passed: socket.socket, activate: Activate, db: str) -> None:
    process = activate(pid=str(os.getpid()))
    assert process.stdout

    assert process.stdout.readline() == f"listening at {db}.sock\n"
    with Line(f"{db}.sock") as line:
        assert line.ask("stats")["pid"] == process.pid
    stop(process)
    assert not os.path.lexists(f"{db}.sock")


def test_a_socket_that_is_asked_for_counts_more_than_one_that_is_passed(
    passed: socket.socket, activate: Activate, tmp_path: Path
) -> None:
    process = activate("--socket", str(tmp_path / "asked.sock"))
    assert process.stdout

    assert process.stdout.readline() == f"listening at {tmp_path / 'asked.sock'}\n"


@pytest.mark.parametrize("count", ["0", "2", "-1", "one", ""])
def test_any_count_but_one_is_refused(monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    monkeypatch.setenv("LISTEN_FDS", count)

    with pytest.raises(BindError, match=f"LISTEN_FDS is {count!r}"):
        InheritedSocket()


def test_a_descriptor_that_is_not_a_socket_is_refused(db: str, tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        line = refusal(command=command(file.fileno(), "--db", db), pass_fds=[file.fileno()])

    assert "descriptor 3" in line
    assert "not a socket" in line


def test_a_descriptor_that_was_announced_and_not_passed_is_refused(db: str) -> None:
    assert "descriptor 3" in refusal(command=command(None, "--db", db))


@pytest.mark.parametrize("kind", ["bound", "connected", "datagram", "tcp"])
def test_what_is_no_listening_unix_socket_is_refused(db: str, tmp_path: Path, kind: str) -> None:
    family = socket.AF_INET if kind == "tcp" else socket.AF_UNIX
    bound = socket.socket(family, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
    other = bound
    if kind == "connected":
        bound, other = socket.socketpair()
    elif kind == "tcp":
        bound.listen()
    else:
        bound.bind(str(tmp_path / "s.sock"))
    with bound, other:
        line = refusal(command=command(bound, "--db", db), pass_fds=[bound.fileno()])

    assert "not a listening Unix stream socket" in line


if shutil.which("systemd-socket-activate"):

    def test_systemd_itself_starts_a_server_for_the_first_connection(db: str, tmp_path: Path) -> None:
        path = str(tmp_path / "activated.sock")
        serve = [sys.executable, "-m", "raven", "serve", "--db", db]
        with subprocess.Popen(["systemd-socket-activate", "-l", path, *serve], stdout=subprocess.PIPE) as process:
            try:
                with wait_until(lambda: connected(path), "the socket") as line:
                    assert line.ask("stats")["pid"] == process.pid
                process.send_signal(signal.SIGTERM)
                assert process.wait(DEADLINE_S) == 0
            finally:
                process.kill()
        assert os.path.exists(path)
