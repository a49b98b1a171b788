"""Commands over the socket: they print the same as on the file, and find and wait for the server.

The tests of the commands themselves run both ways where they are marked so.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Shell, finish
from tests.rpc_server import Served
from tests.support import wait_for_waiting, wait_until

SEND = ("send", "--from", "boss:s", "--to", "worker:s", "-t", "note")
WORKER = ("-a", "worker:s")
# The history of the bus that the reading commands show.
PAST = (
    ("session", "init", "s", "-a", "worker:s", "-a", "other:s"),
    (*SEND, "--correlation-id", "c", "--task-id", "t", "--expires-in", "1h", "--dedup-key", "k"),
    (
        *SEND,
        "--body",
        '{"n": [1, null, "caf\\u00e9 \\u001b[31m"]}',
        "--urgency",
        "blocking",
        "--tag",
        "a",
        "--tag",
        "b",
    ),
    ("send", "--from", "boss:s", "--to", "worker:s", "--to", "other:s", "-t", "two", "--max-attempts", "1", "--report"),
    ("send", "--from", "boss:s", "--to", "*:s", "-t", "all", "--delay", "1h"),
    ("claim", *WORKER, "-m", "9"),
    ("nack", "1", "--reason", "no time \x1b[31m", "--delay", "1h"),
    ("nack", "3", *WORKER, "--reason", "cannot be done"),
    ("reply", "2", "-t", "done", "--body", '{"ok": true}', "--ack"),
    ("inbox", "-a", "boss:s", "-m", "1"),
)
READS = (
    ("inbox", *WORKER, "--peek"), ("inbox", *WORKER, "--peek", "-m", "1"), ("inbox", "-a", "nothing:s", "--peek"),
    ("inbox", *WORKER, "-m", "20000"), ("inbox", "-a", "worker"),
    ("read", "2"), ("read", "2", *WORKER), ("read", "5", "-a", "stranger:s"), ("read", "99"),
    ("read", "9" * 20, *WORKER),
    ("receipts", "1"), ("receipts", "3"), ("receipts", "99"),
    ("thread", "2"), ("thread", "2", "-a", "boss:s", "-m", "1"), ("thread", "99"), ("thread", "1", "-m", "0"),
    ("history", "--correlation-id", "c"), ("history", "--task-id", "none"), ("history",),
    ("dead-letters",), ("dead-letters", *WORKER, "-m", "1"), ("dead-letters", "-a", "other:s"),
    ("dead-letters", "-m", "0"),
    ("peers", "--json"), ("peers", "--session", "s", "--json"), ("peers", "--session", "ghost"),
    ("tail", "--no-follow"), ("tail", "--no-follow", "-n", "2"), ("tail", "--no-follow", "-n", "0"),
    ("tail", "--no-follow", "--from", "3"), ("tail", "--no-follow", "--from", "2", "-a", "other:s"),
    ("tail", "--timeout", "1"), ("tail", "--no-follow", "--timeout", "0"), ("tail", "-a", "nobody"),
    ("prune", "--older-than", "0s", "--dry-run"), ("prune", "--older-than", "soon", "--dry-run"),
)  # fmt: skip
CLIENT_COMMANDS = (
    SEND, ("inbox", *WORKER), ("read", "1"), ("ack", "1"), ("subscribe", *WORKER), ("tail",), ("peers",),
    ("session", "init", "s"), ("claim", *WORKER), ("nack", "1"), ("extend", "1"), ("dead-letters",), ("requeue", "1"),
    ("receipts", "1"), ("thread", "1"), ("history", "--task-id", "t"), ("reply", "1", "-t", "x"),
    ("request", "--from", "a:s", "--to", "b:s", "-t", "x"), ("transaction", *WORKER), ("prune",), ("forget", "a:s"),
    ("session", "end", "s"),
)  # fmt: skip
FOLLOWING = (
    ("subscribe", *WORKER),
    ("subscribe", *WORKER, "--ack", "manual"),
    ("tail",),
    ("request", "--from", "boss:s", "--to", "worker:s", "-t", "add"),
)


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    """Serve the shell user's own bus."""
    return serve()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, str]]:
    """Make a bus on which much has happened, and serve it; returns its user and the path of the socket."""
    user = Shell(tmp_path_factory.mktemp("used"))
    for command in PAST:
        user.ok(*command)
    one = Served(user.db)
    yield user, one.path
    one.close()


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("command", READS, ids=" ".join)
def test_a_look_is_the_same_over_the_socket(
    used: tuple[Shell, str], command: tuple[str, ...], options: tuple[str, ...]
) -> None:
    user, path = used

    direct = user.run(*command, *options)
    remote = user.run(*command, *options, RAVEN_SOCKET=path, RAVEN_DB="unused.db")

    assert (remote.returncode, remote.stdout, remote.stderr) == (direct.returncode, direct.stdout, direct.stderr)
    assert (direct.stderr == "") == (direct.returncode == 0)


def test_what_is_written_over_the_socket_is_shown_with_the_same_properties(shell: Shell, served: Served) -> None:
    for command in (SEND, (*SEND, "--dedup-key", "k"), ("reply", "1", "-t", "x")):
        direct, remote = (shell.json(*command, "--json", *way) for way in ((), ("--socket", served.path)))
        assert direct.keys() == remote.keys()

    [direct], [remote] = (
        shell.json("claim", *WORKER, "-j", *way)["messages"] for way in ((), ("--socket", served.path))
    )
    assert direct.keys() == remote.keys()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", FOLLOWING, ids=" ".join)
def test_a_signal_ends_what_waits_over_the_socket(
    shell: Shell, served: Served, command: tuple[str, ...], number: int
) -> None:
    process = shell.start(*command, "--socket", served.path)
    if command[0] in ("subscribe", "tail"):
        wait_for_waiting(shell.db, "*" if command[0] == "tail" else "worker:s")
    else:
        wait_until(lambda: shell.json("inbox", *WORKER, "--peek", "-j")["messages"], "the message")

    process.send_signal(number)

    assert finish(process) == (128 + number, "", "")


def test_subscribe_over_the_socket_prints_messages_as_they_come(shell: Shell, served: Served) -> None:
    process = shell.start("subscribe", "-a", "worker:s", "--count", "2", "--socket", served.path)
    wait_for_waiting(shell.db, "worker:s")
    assert process.stdout

    shell.ok(*SEND)  # on the file
    assert process.stdout.readline() == "#1 boss:s -> worker:s type=note {}\n"
    shell.ok(*SEND, "--socket", served.path)

    assert finish(process) == (0, "#2 boss:s -> worker:s type=note {}\n", "")


@pytest.mark.parametrize("command", CLIENT_COMMANDS, ids=" ".join)
def test_a_command_uses_one_way_to_the_bus(shell: Shell, command: tuple[str, ...]) -> None:
    both = ("--db", "bus.db", "--socket", "bus.db.sock")
    step = '{"method": "ack", "params": {"id": 1}}'

    assert "--db and --socket exclude each other" in shell.error(2, *command, *both)
    said = shell.error(1, *command, RAVEN_SOCKET="none.sock", RAVEN_CONNECT_TIMEOUT_S="0", stdin=step)
    assert said.startswith("the server cannot be reached at none.sock: No such file or directory; start `raven serve`")
    assert not Path(shell.db).exists()


def test_a_command_waits_for_a_server_that_is_starting(shell: Shell, serve: Callable[..., Served]) -> None:
    for seconds, least_s in (("0", 0.0), ("0.4", 0.4)):
        began = time.monotonic()
        shell.error(1, "peers", "--socket", "none.sock", RAVEN_CONNECT_TIMEOUT_S=seconds)
        assert time.monotonic() - began >= least_s
    process = shell.start("peers", "--socket", f"{shell.db}.sock", RAVEN_CONNECT_TIMEOUT_S="30")
    serve()
    assert finish(process) == (0, "(no addresses)\n", "")


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan", "inf", "1e3", "3600.1", "2s", " 2", "٢"])
def test_a_wait_for_the_server_that_is_no_number_of_seconds_is_refused(shell: Shell, seconds: str) -> None:
    said = shell.error(2, "peers", "--socket", "none.sock", RAVEN_CONNECT_TIMEOUT_S=seconds)

    assert said == f"RAVEN_CONNECT_TIMEOUT_S is {seconds!r}, but must be a number of seconds from 0 to 3600"


def test_a_flag_counts_more_than_the_environment(shell: Shell, served: Served) -> None:
    shell.ok(*SEND, RAVEN_SOCKET=served.path)
    assert shell.ok("tail", "--no-follow").startswith("#1 ")  # the server's bus is RAVEN_DB here

    assert shell.ok(*SEND, "--db", "other.db", RAVEN_SOCKET="none.sock").startswith("sent #1 ")
    assert shell.ok("peers", "--db", "other.db", RAVEN_SOCKET="none.sock").count("\n") == 3
    assert shell.ok(*SEND, "--socket", served.path, RAVEN_SOCKET="none.sock").startswith("sent #2 ")
    assert shell.ok(*SEND, RAVEN_SOCKET="").startswith("sent #3 ")


def test_commands_about_the_file_take_no_notice_of_the_socket(shell: Shell) -> None:
    nowhere = "none.sock"
    assert "initialised" in shell.ok("init", RAVEN_SOCKET=nowhere)
    assert shell.ok("version", RAVEN_SOCKET=nowhere).startswith("raven ")
    assert "_RAVEN_COMPLETE" in shell.ok("completion", "bash", RAVEN_SOCKET=nowhere)
    assert shell.ok("doctor", RAVEN_SOCKET=nowhere).startswith("ok    bus: ")


def test_call_prints_the_result_as_json(shell: Shell, served: Served) -> None:
    def call(*arguments: str) -> Any:
        return json.loads(shell.ok("call", *arguments, "--socket", served.path))

    assert call("ping") == "pong"
    assert call("send", '{"from": "boss:s", "to": "worker:s", "type": "note", "body": 1}')["id"] == 1
    assert call("send", '["boss:s", "worker:s", "note", {"n": 2}]')["body"] == {"n": 2}
    assert [message["id"] for message in call("inbox", '["worker:s", 1]')["messages"]] == [1]
    assert json.loads(shell.ok("call", "last_id")) == {"id": 2}  # at <db>.sock
    assert json.loads(shell.ok("call", "last_id", RAVEN_SOCKET=served.path)) == {"id": 2}


def test_a_wrong_call_is_one_line_and_an_exit_code(shell: Shell, served: Served) -> None:
    assert "there is no method 'fly'" in shell.error(2, "call", "fly")
    assert "'{bad' is not JSON" in shell.error(2, "call", "send", "{bad")
    assert "neither an object nor an array" in shell.error(2, "call", "send", "1")
    assert "'from' is missing" in shell.error(2, "call", "send", '{"to": "a:s", "type": "x"}')
    assert "'nope' is no parameter here" in shell.error(2, "call", "ping", '{"nope": 1}')
    assert "there is no message #9" in shell.error(4, "call", "read", '{"id": 9}')
    assert "no registered address" in shell.error(6, "call", "send", '["a:s", "*:ghost", "x"]')
    assert "Missing argument 'METHOD'" in shell.error(2, "call")


def test_a_request_through_the_server_is_answered_on_the_file(shell: Shell, served: Served) -> None:
    process = shell.start("request", "--from", "boss:s", "--to", "worker:s", "-t", "add", "--socket", served.path)
    wait_until(lambda: shell.json("inbox", *WORKER, "--peek", "-j")["messages"], "the request")

    shell.ok("reply", "1", "-t", "sum", "--body", "3", "--ack")

    assert finish(process) == (0, "3\n", "")


def test_own_statements_need_the_file(shell: Shell, served: Served) -> None:
    steps = [("send", {"to": "a:s", "type": "x"}), ("execute", {"sql": "SELECT 1"})]
    text = "".join(json.dumps({"method": method, "params": params}) + "\n" for method, params in steps)

    said = shell.error(2, "transaction", *WORKER, "--socket", served.path, stdin=text)

    assert said == "line 2: execute needs the bus file: leave out --socket and RAVEN_SOCKET"
    assert shell.ok("tail", "--no-follow", "--socket", served.path) == ""
