"""`raven serve --http` as a process: its start, its end, and what it bears meanwhile."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from scripts.harness.deadline import Limit
from tests.failed_start import environment, refusal, serve_command
from tests.http_front import Wire
from tests.processes import needs_proc, open_files
from tests.rpc_server import Served
from tests.support import DEADLINE_S, wait_until

pytestmark = pytest.mark.process
Connect = Callable[..., BusClient]
NOTE = {"from": "boss:s", "to": "worker:s", "type": "note"}


class Bridged(Served):
    """`raven serve` with HTTP, and without the token unless there is another option of it."""

    def start(self) -> None:
        super().start()
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().removeprefix("listening at ").strip()

    def wire(self) -> Wire:
        return Wire(self.address)


@pytest.fixture
def bridged(db: str) -> Iterator[Callable[..., Bridged]]:
    with ExitStack() as stack:
        yield lambda *options, http="127.0.0.1:0", **environment: stack.enter_context(
            Bridged(db, None, "--http", http, *(options or ["--no-token"]), **environment)
        )


Start = Callable[..., Bridged]


def send(wire: Wire, body: Any = None) -> int:
    answer = wire.ask("/send", json.dumps({**NOTE, "body": body}).encode())
    assert answer.status == 200, answer
    return int(json.loads(answer.body)["id"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_although_clients_are_idle_slow_or_stuck(bridged: Start, db: str, number: int) -> None:
    served = bridged(http=f"unix:{db}.http")
    with ExitStack() as stack:
        idle, half, body, deaf, *streams = wires = [stack.enter_context(served.wire()) for _ in range(7)]
        for stream in streams:
            stream.write(stream.request("/events?preview=10"))
            assert stream.head() is not None
        for _ in range(6):
            send(idle, "x" * 1_000_000)
        half.write(b"POST /send HTT")
        body.write(body.request("/send", b"{}")[:-1])
        for _ in range(10):
            deaf.write(deaf.request("/history"))
        send(idle)
        begin = time.monotonic()

        assert served.stop(number) == 0

        assert time.monotonic() - begin < Limit(10)
        assert idle.rest() == half.rest() == b""
        assert all(stream.rest().endswith(b"\r\n0\r\n\r\n") for stream in streams)
        for wire in wires:
            with suppress(ConnectionResetError):
                wire.rest()
    assert not os.path.lexists(f"{db}.http")
    assert served.log() == ""


def test_what_was_answered_outlives_a_kill_and_the_next_server_takes_the_socket(
    bridged: Start, connect: Connect, db: str
) -> None:
    served = bridged(http=f"unix:{db}.http")
    with served.wire() as wire:
        sent = [send(wire, number) for number in range(20)]
    served.kill()
    assert stat.S_IMODE(os.lstat(f"{db}.http").st_mode) == 0o600

    again = bridged(http=f"unix:{db}.http")
    with again.wire() as wire:
        assert send(wire) == sent[-1] + 1
    assert [message.id for message in connect("worker:s").inbox()] == [*sent, sent[-1] + 1]


@pytest.mark.parametrize("kind", ["port", "unix"])
def test_a_second_server_at_one_place_is_refused_and_leaves_nothing(bridged: Start, db: str, kind: str) -> None:
    served = bridged(http="127.0.0.1:0" if kind == "port" else f"unix:{db}.http")
    place = served.address.removeprefix("http://").rstrip("/")

    said = refusal("--db", f"{db}.other", "--http", place, "--no-token")

    assert ("another program listens there" if kind == "port" else "another server is listening") in said
    assert not os.path.lexists(f"{db}.other.sock")
    with served.wire() as wire:
        assert wire.ask("/health").status == 200


@needs_proc
def test_it_listens_at_an_address_of_one_link(bridged: Start, tmp_path: Path) -> None:
    """Such an address has a zone, which clients leave out of `Host`."""
    links = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines() if line.startswith("fe80")]
    if not links:
        pytest.skip("no interface here has an address of its link")
    address = str(IPv6Address(bytes.fromhex(links[0][0])))
    token = tmp_path / "token"
    token.write_text("t" * 32)
    token.chmod(0o600)
    served = bridged("--token-file", str(token), http=f"[{address}%{links[0][-1]}]:0")
    port = int(served.address.rpartition(":")[2].rstrip("/"))

    zone = socket.if_nametoindex(links[0][-1])
    with socket.socket(socket.AF_INET6) as client:
        client.settimeout(DEADLINE_S)
        client.connect((address, port, 0, zone))
        client.sendall(f"GET /health HTTP/1.1\r\nHost: [{address}]:{port}\r\n\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


def ask_health(served: Bridged) -> int:
    """Ask over a connection of its own, which a full server refuses and closes."""
    with served.wire() as wire:
        return wire.ask("/health").status


def test_two_thousand_connections_do_not_slow_down_a_client_that_is_in(bridged: Start) -> None:
    served = bridged()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    host, _, port = served.address.removeprefix("http://").rstrip("/").partition(":")
    try:
        with served.wire() as inside, ExitStack() as stack:
            slowest = 0.0
            crowd = []
            for number in range(2000):
                crowd.append(stack.enter_context(socket.create_connection((host, int(port)), DEADLINE_S)))
                crowd[-1].sendall(b"GET /he")
                if number % 50 == 0:
                    begin = time.monotonic()
                    send(inside)
                    slowest = max(slowest, time.monotonic() - begin)
            assert slowest < Limit(1.0)
            refused = crowd[-1].recv(4096)
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in refused
        wait_until(lambda: ask_health(served) == 200, "the crowd to leave")
        assert served.log() == ""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@needs_proc
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_without_descriptors_the_clients_inside_go_on_and_the_others_wait(bridged: Start) -> None:
    served = bridged()
    with served.wire() as inside, ExitStack() as stack:
        send(inside)
        before = resource.prlimit(served.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(served.pid, resource.RLIMIT_NOFILE, (open_files(served.pid) + 1, before[1]))
        late = [stack.enter_context(served.wire()) for _ in range(5)]
        for wire in late:
            wire.write(wire.request("/health"))
        wait_until(lambda: "no descriptor is left" in served.log(), "a word about it")
        for number in range(20):
            send(inside, number)
        resource.prlimit(served.pid, resource.RLIMIT_NOFILE, before)

        assert [answer.status for wire in late if (answer := wire.answer()) is not None] == [200] * 5
    assert served.log().count("\n") == 1, served.log()


def test_a_browser_gets_in_and_its_arguments_and_the_log_hold_no_token(bridged: Start, db: str, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opening\nmv {tmp_path}/opening {tmp_path}/opened\n')
    browser.chmod(0o700)
    served = bridged("--read-only", "--open", BROWSER=str(browser))
    wait_until((tmp_path / "opened").exists, "the browser")
    opened = (tmp_path / "opened").read_text().strip()
    token = Path(f"{db}.http-token").read_text().strip()

    with served.wire() as wire:
        first = wire.ask(opened.removeprefix(served.address[:-1]))
        assert (first.status, first.headers["location"]) == (303, "/")
        cookie = first.headers["set-cookie"].partition(";")[0]
        assert wire.ask("/peers", None, f"Cookie: {cookie}").status == 200
        assert wire.ask(opened.removeprefix(served.address[:-1])).status == 401
        assert wire.ask("/peers").status == 401
        assert wire.ask("/peers", None, f"Authorization: Bearer {token}").status == 200
        assert wire.ask("/send", json.dumps(NOTE).encode(), f"Authorization: Bearer {token}").status == 403
    served.stop()
    assert served.process.stdout is not None
    said = served.process.stdout.read()
    assert said == f"token: {db}.http-token\n"
    assert token not in opened + served.log()


def test_http_alone_needs_nothing_of_the_extra_for_json_rpc(db: str, tmp_path: Path) -> None:
    without = tmp_path / "without.py"
    without.write_text("import sys\nsys.modules['jsonrpcserver'] = None\nfrom raven.cli.main import main\nmain()\n")
    command = [sys.executable, str(without), "serve", "--db", db, "--no-socket", "--http", f"unix:{db}.http"]
    command += ["--max-request", "2000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"listening at unix:{db}.http\n".encode()
            with Wire(f"unix:{db}.http") as wire:
                assert send(wire) == 1
                assert wire.ask("/send", json.dumps({**NOTE, "body": "x" * 2000}).encode()).status == 413
            assert not os.path.lexists(f"{db}.sock")
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (["--no-socket"], "add --http"),
        (["--open"], "add --http"),
        (["--read-only"], "add --http"),
        (["--allow-host", "a"], "add --http"),
        (["--http", "--no-socket", "--socket", "a"], "excludes --socket"),
        (["--http", "--no-token", "--token-file", "a"], "give one"),
        (["--http", "unix:a", "--open"], "HOST:PORT"),
        (["--http", "unix:a", "--port", "1"], "leave out"),
        (["--http", "unix:"], "unix:PATH"),
        (["--http", "example.org:80"], "127.0.0.1:7713"),
        (["--http", "127.0.0.1:65536"], "from 0 to 65535"),
        (["--http", "127.0.0.1:http"], "from 0 to 65535"),
        (["--http", "127.0.0.1:0000099999"], "from 0 to 65535"),
        (["--http", "[::1]7713"], "[ADDRESS]:PORT"),
        (["--http", "[::1"], "[ADDRESS]:PORT"),
        (["--port", "65536"], "0<=x<=65535"),
        (["--http", "0.0.0.0"], "--token-file"),
        (["--http", "--host", "::"], "--token-file"),
        (["--http", "0.0.0.0", "--no-token"], "--token-file"),
        (["--http", "127.0.0.1:0", "--token-file", "missing"], "cannot be read"),
        (["--http", "127.0.0.1:0", "--allow-host", "a/b"], "NAME:PORT"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_a_remedy(
    db: str, tmp_path: Path, options: list[str], remedy: str
) -> None:
    assert remedy in refusal("--db", db, *options, code=2, cwd=tmp_path)
    assert not os.path.lexists(f"{db}.sock")


def test_without_the_extra_the_error_says_how_to_get_it(db: str) -> None:
    program = "import sys; sys.modules['uvicorn'] = None; from raven.cli.main import main; main()"
    command = [sys.executable, "-c", program, *serve_command("--db", db, "--http")[3:]]

    assert refusal(code=2, command=command).endswith("pip install 'raven-bus[http]'\n")
    assert not os.path.lexists(db)
