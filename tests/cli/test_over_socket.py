"""Every client command prints the same over the socket as on the file, and ends in the same way."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import DEADLINE_S, Shell
from tests.cli.story import Result, Story, steps, tell_both_ways
from tests.serving import Served
from tests.support import wait_for_waiting, wait_until, waiting

SEND = ("send", "--from", "boss:s", "--to", "worker:s", "-t", "note")
# One story, told twice: on the file and through a helper.
STORY: Story = [
    (("session", "init", "s", "-r", "worker", "-r", "other"), ""),
    (("session", "init", "t", "--json"), ""),
    (SEND, ""),
    ((*SEND, "--body", '{"n": [1, null]}', "--urgency", "blocking", "--tag", "a", "--tag", "b", "--reply-to", "1"), ""),
    ((*SEND, "--correlation-id", "c", "--task-id", "t", "--expires-in", "1h", "--delay", "0", "--json"), ""),
    (("send", "--from", "boss:s", "--to", "*:s", "-t", "all", "--body-file", "-"), '"caf\\u00e9 \\u001b[31m"'),
    (("send", "--from", "boss:s", "--to", "worker:s", "--to", "other:s", "-t", "two", "--dedup-key", "k"), ""),
    (("send", "--from", "boss:s", "--to", "worker:s", "--to", "other:s", "-t", "two", "--dedup-key", "k", "-j"), ""),
    ((*SEND, "--delay", "1h"), ""),
    ((*SEND, "--body-file", "missing.json"), ""),
    ((*SEND, "--body", "{bad"), ""),
    ((*SEND, "--body", "[" * 101 + "]" * 101), ""),
    ((*SEND, "--body", "1", "--body-file", "-"), ""),
    ((*SEND, "--reply-to", "0"), ""),
    ((*SEND, "--expires-in", "0"), ""),
    ((*SEND, "--urgency", "now"), ""),
    ((*SEND, "--tag", ""), ""),
    (("send", "--from", "boss:s", "--to", "nobody", "-t", "note"), ""),
    (("send", "--from", "*:s", "--to", "worker:s", "-t", "note"), ""),
    (("send", "--from", "boss:s", "--to", "*:ghost", "-t", "note"), ""),
    (("send", "--from", "boss:s", "-t", "note"), ""),
    (("inbox", "-r", "worker:s", "--peek", "--json"), ""),
    (("inbox", "-r", "worker:s", "-m", "2"), ""),
    (("inbox", "-r", "worker:s", "--json"), ""),
    (("inbox", "-r", "nothing:s"), ""),
    (("inbox", "-r", "worker:s", "-m", "20000"), ""),
    (("inbox", "-r", "worker:s", "-m", "0"), ""),
    (("inbox", "-r", "worker"), ""),
    (("read", "2"), ""),
    (("read", "2", "-r", "worker:s", "--json"), ""),
    (("read", "5", "-r", "stranger:s"), ""),
    (("read", "99"), ""),
    (("read", "99999999999999999999", "-r", "worker:s"), ""),
    (("read", "one"), ""),
    (("ack", "1"), ""),
    (("ack", "1", "2", "3", "--json"), ""),
    (("ack", "5"), ""),
    (("ack", "5", "-r", "other:s"), ""),
    (("ack", "5", "4", "-r", "worker:s"), ""),
    (("ack", "5", "-r", "stranger:s"), ""),
    (("ack", "1", "99"), ""),
    (("peers",), ""),
    (("peers", "--session", "s", "--json"), ""),
    (("peers", "--session", "ghost"), ""),
    (("tail", "--no-follow"), ""),
    (("tail", "--no-follow", "--json", "-n", "2"), ""),
    (("tail", "--no-follow", "-n", "0"), ""),
    (("tail", "--no-follow", "--from", "3"), ""),
    (("tail", "--no-follow", "--from", "4", "-r", "other:s"), ""),
    (("tail", "--timeout", "1"), ""),
    (("tail", "--no-follow", "--timeout", "0"), ""),
    (("tail", "--from", "1", "--last", "1"), ""),
    (("tail", "--from", "-1"), ""),
    (("tail", "-r", "nobody"), ""),
    (("subscribe", "-r", "other:s", "--count", "1"), ""),
    (("subscribe", "-r", "other:s", "--count", "2", "--timeout", "500ms"), ""),
    (SEND, ""),
    ((*SEND, "--body", '"evil $(touch pwned)"'), ""),
    (("subscribe", "-r", "worker:s", "--count", "1", "--json"), ""),
    (("subscribe", "-r", "worker:s", "--timeout", "1", "--exec", "cat; exit 3"), ""),
    (("subscribe", "-r", "worker:s", "--timeout", "never"), ""),
    (("subscribe", "-r", "*:s"), ""),
]  # fmt: skip


@pytest.fixture
def served(shell: Shell) -> Iterator[Served]:
    """Serve the shell user's own bus."""
    one = Served(shell.db)
    yield one
    one.close()


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Result]]:
    return tell_both_ways(tmp_path_factory.mktemp("story"), STORY)


@pytest.mark.parametrize("step", steps(STORY))
def test_a_command_is_the_same_over_the_socket(stories: dict[str, dict[str, Result]], step: str) -> None:
    code, printed, complained = stories["file"][step]

    assert stories["socket"][step] == (code, printed, complained)
    assert (complained == "") == (code == 0)


def test_the_story_has_every_exit_code_that_a_client_can_see(stories: dict[str, dict[str, Result]]) -> None:
    assert {code for code, _, _ in stories["file"].values()} == {0, 1, 2, 4, 6}


def test_following_commands_end_by_a_signal_as_they_do_on_the_file(shell: Shell, served: Served) -> None:
    for command, bell in ((("subscribe", "-r", "worker:s"), "worker:s"), (("tail",), "*")):
        for number in (signal.SIGINT, signal.SIGTERM):
            wait_until(lambda bell=bell: not waiting(shell.db, bell), "the end of the command before")
            process = shell.start(*command, "--socket", served.path)
            wait_for_waiting(shell.db, bell)

            process.send_signal(number)

            printed, complained = process.communicate(timeout=DEADLINE_S)
            assert (process.returncode, printed, complained) == (128 + number, "", "")


def test_subscribe_over_the_socket_prints_messages_as_they_come(shell: Shell, served: Served) -> None:
    process: subprocess.Popen[str] = shell.start("subscribe", "-r", "worker:s", "--count", "2", "--socket", served.path)
    wait_for_waiting(shell.db, "worker:s")
    assert process.stdout

    shell.ok(*SEND)  # on the file
    assert process.stdout.readline() == "#1 boss:s -> worker:s type=note {}\n"
    shell.ok(*SEND, "--socket", served.path)

    assert process.communicate(timeout=DEADLINE_S) == ("#2 boss:s -> worker:s type=note {}\n", "")
    assert process.returncode == 0


@pytest.mark.parametrize(
    "command",
    [SEND, ("inbox", "-r", "worker:s"), ("read", "1"), ("ack", "1"), ("subscribe", "-r", "w:s"), ("tail",), ("peers",),
     ("session", "init", "s")],
)  # fmt: skip
def test_both_ways_at_once_are_a_usage_error(shell: Shell, command: tuple[str, ...]) -> None:
    both = ("--db", "bus.db", "--socket", "bus.db.sock")
    assert "--db and --socket exclude each other" in shell.error(2, *command, *both)
    assert not Path(shell.db).exists()


def test_where_nobody_listens_a_command_says_so_in_one_line(shell: Shell) -> None:
    said = shell.error(1, *SEND, "--socket", "none.sock", RAVEN_CONNECT_TIMEOUT_S="0")

    assert said.startswith("the helper cannot be reached at none.sock: No such file or directory; start `raven serve`")
    assert not Path(shell.db).exists()


def test_a_command_waits_for_a_helper_that_is_starting(shell: Shell) -> None:
    for seconds, least_s in (("0", 0.0), ("0.4", 0.4)):
        began = time.monotonic()
        shell.error(1, "peers", "--socket", "none.sock", RAVEN_CONNECT_TIMEOUT_S=seconds)
        assert time.monotonic() - began >= least_s
    process = shell.start("peers", "--socket", f"{shell.db}.sock", RAVEN_CONNECT_TIMEOUT_S="30")
    served = Served(shell.db)
    try:
        assert process.communicate(timeout=DEADLINE_S) == ("(nobody)\n", "")
    finally:
        served.close()


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan", "inf", "1e3", "3600.1", "2s", " 2", "٢"])
def test_a_wait_for_the_helper_that_is_no_number_of_seconds_is_refused(shell: Shell, seconds: str) -> None:
    said = shell.error(2, "peers", "--socket", "none.sock", RAVEN_CONNECT_TIMEOUT_S=seconds)

    assert said == f"RAVEN_CONNECT_TIMEOUT_S is {seconds!r}, but must be a number of seconds from 0 to 3600"


def test_a_flag_counts_more_than_the_environment(shell: Shell, served: Served) -> None:
    shell.ok(*SEND, RAVEN_SOCKET=served.path)
    assert shell.ok("tail", "--no-follow").startswith("#1 ")  # the helper's bus is RAVEN_DB here

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
    assert "nobody is registered" in shell.error(6, "call", "send", '["a:s", "*:ghost", "x"]')
    assert "Missing argument 'METHOD'" in shell.error(2, "call")
