"""The commands that follow the bus: subscribe and tail."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from raven.cli.commands.subscribe import run_command
from tests.cli.shell import DEADLINE_S, Shell, finish
from tests.support import bells, wait_for_waiting

pytestmark = pytest.mark.both_ways


def send(shell: Shell, body: str = "{}", to: str = "worker:s", *options: str) -> None:
    shell.ok("send", "--from", "boss:s", "--to", to, "-t", "job", "--body", body, *options)


@pytest.mark.file_only
def test_subscribe_prints_messages_as_they_come_and_stops_at_count(shell: Shell) -> None:
    shell.ok("session", "init", "s")
    process = shell.start("subscribe", "-a", "worker:s", "--count", "2", "--timeout", "20")
    wait_for_waiting(shell.db, "worker:s")

    send(shell, "1")
    send(shell, "2")

    lines = ["#1 boss:s -> worker:s type=job 1", "#2 boss:s -> worker:s type=job 2"]
    assert finish(process) == (0, "\n".join(lines) + "\n", "")
    assert shell.json("inbox", "-a", "worker:s", "-j")["messages"] == []
    assert bells(shell.db) == []


def test_subscribe_json_prints_a_line_a_message(shell: Shell) -> None:
    send(shell, '"\\n"')
    send(shell)

    printed = shell.ok("subscribe", "-a", "worker:s", "--json", "--timeout", "1")

    assert [json.loads(line)["id"] for line in printed.splitlines()] == [1, 2]


def test_subscribe_that_times_out_before_count_exits_1(shell: Shell) -> None:
    send(shell)

    done = shell.run("subscribe", "-a", "worker:s", "--count", "2", "--timeout", "1s")

    assert done.returncode == 1
    assert done.stderr == "error: only 1 of 2 messages came within 1 s\n"


def test_exec_that_fails_is_said_and_ends_in_exit_1_after_all_messages(shell: Shell) -> None:
    send(shell)
    send(shell)

    done = shell.run("subscribe", "-a", "worker:s", "--count", "2", "--exec", "exit 3")

    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: exit 3: exit status 3 on message #{number}" for number in (1, 2)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.file_only
def test_a_signal_ends_subscribe_at_once_and_leaves_nothing_behind(shell: Shell, number: int) -> None:
    shell.ok("session", "init", "s")
    process = shell.start("subscribe", "-a", "worker:s")
    wait_for_waiting(shell.db, "worker:s")

    process.send_signal(number)

    assert finish(process) == (128 + number, "", "")
    assert bells(shell.db) == []


@pytest.mark.slow
@pytest.mark.file_only
def test_two_subscribers_share_the_mail_of_one_address(shell: Shell) -> None:
    shell.ok("session", "init", "s")
    processes = [shell.start("subscribe", "-a", "worker:s", "--json", "--timeout", "3") for _ in range(2)]
    wait_for_waiting(shell.db, "worker:s", 2)

    for number in range(6):
        send(shell, str(number))

    taken = [json.loads(line)["id"] for process in processes for line in finish(process)[1].splitlines()]
    assert sorted(taken) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "arguments",
    [[], ["-a", "worker"], ["-a", "*:s"], ["-a", "w:s", "--count", "0"], ["-a", "w:s", "--timeout", "never"]],
)
def test_a_wrong_subscribe_is_one_line_and_exits_2(shell: Shell, arguments: list[str]) -> None:
    shell.error(2, "subscribe", *arguments)


def test_tail_shows_all_mail_from_the_first_and_consumes_none(shell: Shell) -> None:
    send(shell, "1")
    send(shell, "2", "other:s")

    lines = shell.ok("tail", "--no-follow").splitlines()

    assert lines == ["#1 boss:s -> worker:s type=job 1", "#2 boss:s -> other:s type=job 2"]
    assert shell.json("read", "1", "-j")["state"] == "sent"


def test_tail_narrows_by_role_first_id_and_last(shell: Shell) -> None:
    for number, to in enumerate(["worker:s", "other:s", "worker:s", "other:s"]):
        send(shell, str(number), to)

    def ids(*options: str) -> list[int]:
        return [json.loads(line)["id"] for line in shell.ok("tail", "--no-follow", "--json", *options).splitlines()]

    assert ids("--address", "other:s") == [2, 4]
    assert ids("--address", "boss:s") == [1, 2, 3, 4]
    assert ids("--from", "3") == [3, 4]
    assert ids("--last", "1") == [4]
    assert ids("-n", "0") == []
    assert "exclude each other" in shell.error(2, "tail", "--from", "1", "--last", "1")
    shell.error(2, "tail", "--from", "-1")
    shell.error(2, "tail", "--address", "nobody")


@pytest.mark.file_only
def test_tail_follows_until_its_timeout_or_a_signal(shell: Shell) -> None:
    shell.ok("session", "init", "s")
    process = shell.start("tail", "--json")
    wait_for_waiting(shell.db, "*")

    send(shell, "1")
    assert process.stdout
    assert json.loads(process.stdout.readline())["body"] == 1

    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 128 + signal.SIGTERM
    assert shell.ok("tail", "--timeout", "0.1").startswith("#1 ")
    assert bells(shell.db) == []


@pytest.mark.file_only
def test_colours_only_on_a_terminal_and_not_with_no_color(shell: Shell) -> None:
    send(shell, "1", "worker:s", "--urgency", "blocking")

    _, coloured = shell.on_terminal("tail", "--no-follow")
    _, plain = shell.on_terminal("tail", "--no-follow", NO_COLOR="1")
    _, mistake = shell.on_terminal("fly")
    _, plain_mistake = shell.on_terminal("fly", NO_COLOR="1")

    assert "\x1b[31m" in coloured
    assert "\x1b[31m" in mistake
    assert "\x1b" not in plain + plain_mistake + shell.ok("tail", "--no-follow")


@pytest.mark.file_only
def test_subscribe_keeps_what_it_could_not_hand_on(shell: Shell) -> None:
    """A reader that is gone ends the command; unprinted messages stay in the inbox."""
    for number in range(5):
        send(shell, str(number))
    reader, writer = os.pipe()
    os.close(reader)

    process = subprocess.Popen(
        shell._command(("subscribe", "-a", "worker:s", "--count", "5")), stdout=writer, env=shell.environment
    )
    os.close(writer)

    assert process.wait(DEADLINE_S) == 0
    left = [message["body"] for message in shell.json("inbox", "-a", "worker:s", "-j")["messages"]]
    assert left == [1, 2, 3, 4]


def test_a_shell_command_that_is_too_long_to_be_started_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="too long"):
        run_command(f": {'x' * (8 << 20)}", "")
