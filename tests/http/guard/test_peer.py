"""The user at the other end: a cookie that another user of the host got hold of counts for nothing."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raven_http.guard.guard import Guard
from raven_http.guard.peer import uid_of
from scripts.harness.deadline import DEADLINE_S
from tests.http_bridge import BridgeHere

REQUESTER = Path(__file__).parents[2] / "programs" / "requester.py"
TOKEN = "t0ken-of-the-tests"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells the user on Linux only")


def ask(uid: int, port: int, target: str, *headers: str) -> str:
    """Return the answer to a GET by a process of this user."""
    lines = [f"GET {target} HTTP/1.0", f"Host: 127.0.0.1:{port}", *headers]
    command = [sys.executable, str(REQUESTER), str(uid), "127.0.0.1", str(port)]
    request = "\r\n".join([*lines, "", ""]).encode()
    return subprocess.run(command, input=request, capture_output=True, check=True, timeout=DEADLINE_S).stdout.decode()


@as_root
@on_linux
def test_the_cookie_of_one_user_counts_for_no_process_of_another(db: str) -> None:
    served = BridgeHere(db, token=TOKEN)
    try:
        cookies = {}
        for uid in (0, 3001):
            match = re.search(r"set-cookie: (raven-token-\d+=[0-9a-f]{64});", ask(uid, served.port, f"/?token={TOKEN}"))
            assert match
            cookies[uid] = f"Cookie: {match[1]}"
        for uid in (0, 3001, 3002):
            for owner, cookie in cookies.items():
                expected = "200" if uid == owner else "401"
                assert ask(uid, served.port, "/peers", cookie).split()[1] == expected, (uid, owner)
            assert ask(uid, served.port, "/peers", f"Authorization: Bearer {TOKEN}").split()[1] == "200"
    finally:
        served.close()


@as_root
@on_linux
def test_the_code_for_the_browser_counts_once_and_for_the_user_of_the_server(db: str) -> None:
    guard = Guard(no_app, token=TOKEN)
    served = BridgeHere(db, app=guard)
    try:
        code = guard.make_code()
        answers = [ask(uid, served.port, f"/?token={code}").split()[1] for uid in (3001, 0, 0)]
        assert answers == ["401", "303", "401"]
    finally:
        served.close()


async def no_app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no request passes the guard")


@on_linux
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_kernel_names_the_user_of_an_open_connection(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as listener:
        with socket.create_connection((host, listener.getsockname()[1]), DEADLINE_S):
            connection, client = listener.accept()
            server = connection.getsockname()
            assert uid_of(client[:2], server[:2]) == os.geteuid()
            assert uid_of((client[0], 1), server[:2]) is None
        with connection:
            assert connection.recv(1) == b""
            assert uid_of(client[:2], server[:2]) is None  # its process has closed it


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (None, ("127.0.0.1", 80)),
        (("127.0.0.1", 80), None),
        (("127.0.0.1", 80), ("/run/a.sock", None)),
        (("testclient", 50000), ("testserver", 80)),
        (("127.0.0.1", 1 << 16), ("127.0.0.1", 80)),
        (("127.0.0.1", 80), ("::1", 80)),
    ],
)
def test_a_client_without_a_connection_within_this_host_has_no_known_user(client: Any, server: Any) -> None:
    assert uid_of(client, server) is None
