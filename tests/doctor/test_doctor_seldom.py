"""What `raven doctor` seldom has to say: it is said all the same."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from raven import BusClient
from raven.doctor import database
from raven.store import filesystem
from raven.wake import watcher as walwatch
from tests.examining import assert_told, look
from tests.support import DEADLINE_S


@pytest.fixture
def bus(db: str) -> str:
    """Make a bus with a message."""
    with BusClient.at("worker:s", db) as client:
        client.send("worker:s", "note", "x" * 5000)
    return db


@contextmanager
def answering(path: str, answer: bytes) -> Iterator[None]:
    """Answer the first who connects with these bytes, whatever is asked."""

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


@pytest.mark.parametrize("answer", [b"hello\n", b"[1]\n", b"\xff\n", b'{"half": ', b'{"error": "no"}\n'])
def test_a_program_at_the_socket_that_speaks_something_else_is_named(bus: str, answer: bytes) -> None:
    with answering(f"{bus}.sock", answer):
        check = look(bus)["socket"]

    assert_told(check, "warn", f"{bus}.sock", "does not speak raven's protocol")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"error": {"message": "full", "data": {"kind": "limit"}}}\n', "--max-connections"),
        (b'{"error": {"message": "not you", "data": {"kind": "forbidden"}}}\n', "--allow-uid"),
        (b'{"error": {"message": "broken"}}\n', "see its log"),
    ],
)
def test_a_helper_that_refuses_is_quoted_with_what_helps(bus: str, answer: bytes, words: str) -> None:
    with answering(f"{bus}.sock", answer):
        assert_told(look(bus)["socket"], "warn", "refuses", words)


def test_a_file_that_takes_too_long_to_look_through_is_said_to_be_so(bus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_INTEGRITY_S", 0.0)
    with BusClient.at("worker:s", bus) as client:
        client.send_many([{"to": "worker:s", "type": "note", "body": "y" * 500}] * 2000)

    check = look(bus)["integrity"]

    assert check.verdict == "ok"
    assert "too short" in check.found


def test_damage_that_is_found_is_quoted(bus: str) -> None:
    with BusClient.at("worker:s", bus) as client:
        client.send_many([{"to": f"worker-{n}:s", "type": "note", "body": n} for n in range(500)])
    whole = Path(bus).read_bytes()
    pages = len(whole) // 4096
    # The last page is one of an index or of a table: its cells are turned about.
    spoiled = bytearray(whole)
    spoiled[(pages - 1) * 4096 + 8 : (pages - 1) * 4096 + 40] = bytes(reversed(range(32)))
    Path(bus).write_bytes(spoiled)

    check = look(bus)["integrity"]

    assert_told(check, "fail", "backup")


@pytest.mark.parametrize(
    ("mounts", "verdict", "words"),
    [("1 1 0:1 / / rw - nfs4 host:/x rw\n", "fail", "nfs4"), ("", "warn", "cannot be told")],
)
def test_a_file_system_that_is_not_local_or_not_known_is_named(
    bus: str, monkeypatch: pytest.MonkeyPatch, mounts: str, verdict: str, words: str
) -> None:
    monkeypatch.setattr(filesystem, "_mount_table", lambda: mounts)

    assert_told(look(bus)["file system"], verdict, words)


def test_a_write_that_is_noticed_too_late_is_told(bus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probe: Callable[[str, float], bool] = walwatch.probe
    monkeypatch.setattr(walwatch, "probe", lambda folder, _: probe(folder, 0.0))

    assert_told(look(bus)["inotify"], "warn", "not noticed")
