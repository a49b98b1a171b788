"""The streams: stdout belongs to the protocol, and the server ends with its host, in whatever way that goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.harness.deadline import DEADLINE_S, Limit
from scripts.harness.program import memory_mib
from tests.mcp.harness import RAVEN_MCP, McpClient, environment
from tests.mcp.test_wire_waiting import start_with, wait_for_mail
from tests.support import PROGRAMS, wait_until

StartMcp = Callable[..., McpClient]
needs_proc = pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="the system has no /proc")
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
PONG = b'{"jsonrpc":"2.0","result":{},"id":1}\n'


def run(tmp_path: Path, data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a server on this input, to its end."""
    return subprocess.run(
        [*RAVEN_MCP, *arguments], check=False, input=data, capture_output=True, cwd=tmp_path,
        env=environment(tmp_path), timeout=60,
    )  # fmt: skip


def run_in_shell(tmp_path: Path, script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell's line, in which `$@` is the server."""
    return subprocess.run(
        ["sh", "-c", script, "sh", *RAVEN_MCP], check=False, input=PING, capture_output=True, cwd=tmp_path,
        env=environment(tmp_path), timeout=60,
    )  # fmt: skip


def test_the_end_of_stdin_ends_the_server_with_all_answers_written(tmp_path: Path) -> None:
    done = run(tmp_path, PING * 500)

    assert (done.returncode, done.stdout, done.stderr) == (0, PONG * 500, b"")


def test_a_last_line_without_its_newline_is_read(tmp_path: Path) -> None:
    assert run(tmp_path, PING.rstrip()).stdout == PONG


@pytest.mark.parametrize("data", [b"", b"\n", b"  "])
def test_a_host_that_says_nothing_gets_nothing(tmp_path: Path, data: bytes) -> None:
    done = run(tmp_path, data)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_half_a_line_at_the_end_is_a_parse_error(tmp_path: Path) -> None:
    done = run(tmp_path, PING[:20])

    assert done.returncode == 0
    assert b'"code":-32700' in done.stdout


def test_requests_in_a_file_are_read_as_those_in_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "requests").write_bytes(PING * 3)

    done = run_in_shell(tmp_path, '"$@" < requests > responses')

    assert (done.returncode, (tmp_path / "responses").read_bytes()) == (0, PONG * 3)


def test_the_end_of_stdin_drops_the_calls_that_wait(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s")
    wait_for_mail(client, 100)
    client.request("ping")
    began = time.monotonic()

    assert client.finish() == 0
    assert time.monotonic() - began < Limit(2)
    assert client.unclaimed() == []
    assert client.errors() == ""


def test_output_of_other_code_goes_to_stderr_and_its_input_is_empty(start_mcp: StartMcp, db: str) -> None:
    command = (sys.executable, str(PROGRAMS / "mcp_server.py"), f'{{"db":"{db}"}}', "noise")

    client = start_mcp(command=command, bus=None)

    assert client.request("ping") == {}
    assert client.finish() == 0
    assert client.errors().splitlines() == ["a line for stdout", "bytes for descriptor 1", "a line of a child"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_server_without_stdin_or_stdout_ends_at_once(tmp_path: Path, closed: str) -> None:
    done = run_in_shell(tmp_path, f'"$@" {closed}')

    assert (done.returncode, done.stdout) == (1, b"")
    error = b"error: stdin or stdout is closed: start `raven mcp` with both, as an MCP host does\n"
    assert done.stderr == (b"" if "2>&-" in closed else error)


def test_a_server_without_stderr_serves(tmp_path: Path) -> None:
    done = run_in_shell(tmp_path, '"$@" 2>&-')

    assert (done.returncode, done.stdout) == (0, PONG)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_server_as_the_end_of_stdin_does(start_mcp: StartMcp, number: int) -> None:
    client = start_mcp("--as", "a:s")
    wait_for_mail(client, 100)
    client.request("ping")
    began = time.monotonic()

    client.kill(number)

    assert client.wait() == 0
    assert time.monotonic() - began < Limit(0.9), "it waited for its tick"
    assert client.errors() == ""


def test_a_host_that_dies_takes_its_server_with_it_though_stdin_stays_open(tmp_path: Path) -> None:
    """A daemon of the host may hold the other ends of the pipes."""
    host = subprocess.Popen(
        ["sh", "-c", 'exec 3<&0; "$@" <&3 & wait', "sh", *RAVEN_MCP],
        stdin=-1, stdout=-1, cwd=tmp_path, env=environment(tmp_path), bufsize=0,
    )  # fmt: skip
    with host:
        assert host.stdin
        assert host.stdout
        host.stdin.write(PING)
        assert host.stdout.readline() == PONG
        began = time.monotonic()

        host.kill()

        # The end of the output is the end of the server, which alone holds its other end.
        assert host.stdout.read() == b""
        assert time.monotonic() - began < Limit(2)


def test_a_host_that_closes_stdout_ends_the_server_at_the_next_answer(start_mcp: StartMcp) -> None:
    client = start_mcp()
    assert client.process.stdout
    client.process.stdout.close()

    client.write({"jsonrpc": "2.0", "id": 1, "method": "ping"})

    assert client.wait() == 0
    assert client.errors() == ""


def test_a_host_that_closes_stdout_ends_the_server_within_a_second_though_it_asks_nothing(start_mcp: StartMcp) -> None:
    client = start_mcp()
    assert client.process.stdout
    began = time.monotonic()
    client.process.stdout.close()

    assert client.wait() == 0
    assert time.monotonic() - began < Limit(2)


def test_a_host_that_does_not_read_is_not_waited_for_and_costs_no_memory(start_mcp: StartMcp) -> None:
    client = start_mcp()
    client.request("tools/list")
    before = memory_mib(client.pid)
    asked = 20_000
    lines = b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"tools/list"}\n' % id for id in range(1000, 1000 + asked))
    writer = threading.Thread(target=client.write_bytes, args=(lines,), daemon=True)

    writer.start()

    # The server stops reading long before all requests are written.
    writer.join(2)
    assert writer.is_alive()
    assert memory_mib(client.pid) < before + 12
    answered = 0
    while answered < asked:
        client.response(1000 + answered)
        answered += 1
    writer.join(DEADLINE_S)
    assert not writer.is_alive()
    assert client.request("ping") == {}


def test_a_host_that_does_not_read_and_goes_leaves_no_server_behind(start_mcp: StartMcp) -> None:
    client = start_mcp()
    lines = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n' * 5000
    assert client.process.stdin
    os.set_blocking(client.process.stdin.fileno(), False)
    client.process.stdin.write(lines)
    began = time.monotonic()

    client.close_input()

    assert client.wait() == 0
    assert time.monotonic() - began < Limit(5)


def test_a_stopped_host_of_one_server_does_not_hold_up_another(start_mcp: StartMcp, db: str) -> None:
    silent, other = start_mcp("--as", "a:s"), start_mcp("--as", "b:s")
    assert silent.process.stdin
    os.set_blocking(silent.process.stdin.fileno(), False)
    silent.process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n' * 5000)

    assert other.call("inbox")["messages"] == []


def test_a_socket_pair_serves_as_the_streams_as_well_as_pipes(tmp_path: Path) -> None:
    """Programs of Node.js give their children such."""
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = subprocess.Popen(RAVEN_MCP, stdin=theirs, stdout=theirs, cwd=tmp_path, env=environment(tmp_path))
        theirs.close()
        try:
            request = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n'
            sender = threading.Thread(target=ours.sendall, args=(request * 2000,), daemon=True)
            sender.start()
            received = b""
            while received.count(b"\n") < 2000:
                received += ours.recv(1 << 16)
            sender.join(DEADLINE_S)
            ours.shutdown(socket.SHUT_WR)
            assert server.wait(DEADLINE_S) == 0
            assert set(received.splitlines()) == {received.splitlines()[0]}
        finally:
            server.kill()
            server.wait()


def test_a_person_at_a_terminal_is_told_what_this_is_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    leader, follower = os.openpty()
    server = subprocess.Popen(
        RAVEN_MCP, stdin=follower, stdout=follower, stderr=follower, cwd=tmp_path, env=environment(tmp_path),
        start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    shown = b""

    def read() -> bytes:
        nonlocal shown
        shown += os.read(leader, 4096)
        return shown

    try:
        wait_until(lambda: b"Ctrl-C ends it\r\n" in read(), "the line for a person")
        os.write(leader, PING)
        wait_until(lambda: PONG.rstrip() in read(), "the answer")
        server.send_signal(signal.SIGINT)
        assert server.wait(DEADLINE_S) == 0
    finally:
        server.kill()
        server.wait()
        os.close(leader)


@needs_proc
def test_the_descriptors_of_the_protocol_are_inherited_by_no_child(start_mcp: StartMcp, db: str) -> None:
    client = start_with(start_mcp, db)
    client.request("ping")

    fds = [path.name for path in Path(f"/proc/{client.pid}/fd").iterdir()]
    assert [fd for fd in fds if int(fd) > 2 and not flags_of(client, fd) & os.O_CLOEXEC] == []


@needs_proc
def test_the_streams_stay_in_the_mode_in_which_the_host_gave_them(start_mcp: StartMcp) -> None:
    client = start_mcp()
    assert client.process.stdin
    assert client.process.stdout
    streams = {os.fstat(stream.fileno()).st_ino for stream in (client.process.stdin, client.process.stdout)}

    theirs = [path for path in Path(f"/proc/{client.pid}/fd").iterdir() if os.stat(path).st_ino in streams]

    assert len(theirs) == 2
    assert [path for path in theirs if flags_of(client, path.name) & os.O_NONBLOCK] == []


def flags_of(client: McpClient, fd: str) -> int:
    """Return the flags of a descriptor of the server, as the kernel has them: proc(5)."""
    lines = Path(f"/proc/{client.pid}/fdinfo/{fd}").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("flags")).split()[1], 8)


def arguments_and_errors() -> list[Any]:
    return [
        (["--no-such"], "raven mcp has no option '--no-such': see `raven mcp --help`"),
        (["more"], "raven mcp has no option 'more': see `raven mcp --help`"),
        (["--db"], "--db needs a value: give --db PATH"),
        (["--db="], "--db needs a value: give --db PATH"),
        (["--as", ""], "--as needs a value: give --as ADDRESS"),
        (["--no-push=1"], "--no-push takes no value: leave out '=1'"),
    ]


@pytest.mark.parametrize(("arguments", "error"), arguments_and_errors())
def test_a_bad_option_is_one_line_on_stderr_and_exit_code_2(tmp_path: Path, arguments: list[str], error: str) -> None:
    done = run(tmp_path, PING, *arguments)

    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", f"error: {error}\n")


@pytest.mark.parametrize("arguments", [["--db", "x.db"], ["--db=x.db", "--no-push"], ["--channel"], ["--as=a:s"]])
def test_a_good_option_is_taken_in_either_form(tmp_path: Path, arguments: list[str]) -> None:
    assert run(tmp_path, PING, *arguments).stdout == PONG
