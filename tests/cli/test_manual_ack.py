"""Taking messages at least once: subscribe --ack manual."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.shell import DEADLINE_S, Shell, finish
from tests.support import bells, wait_for_waiting, wait_until

# Where a shell command finds `raven`.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
MANUAL = ("subscribe", "-a", "worker:s", "--ack", "manual")


def send(shell: Shell, body: str = "{}", *options: str) -> None:
    shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "job", "--body", body, *options)


def test_what_was_printed_is_acked(shell: Shell) -> None:
    shell.ok("session", "init", "s")
    process = shell.start(*MANUAL, "--count", "2")
    wait_for_waiting(shell.db, "worker:s")

    send(shell, "1")
    send(shell, "2")

    lines = ["#1 boss:s -> worker:s type=job 1", "#2 boss:s -> worker:s type=job 2"]
    assert finish(process) == (0, "\n".join(lines) + "\n", "")
    assert [shell.receipt(number)["state"] for number in (1, 2)] == ["acked", "acked"]
    assert bells(shell.db) == []


@pytest.mark.both_ways
def test_json_shows_lease_and_attempt(shell: Shell) -> None:
    send(shell)

    message = json.loads(shell.ok(*MANUAL, "--count", "1", "--json"))

    assert (message["state"], message["attempts"]) == ("delivered", 1)
    assert message["lease"]
    assert shell.receipt(1)["state"] == "acked"


def test_what_nobody_could_read_comes_again(shell: Shell) -> None:
    send(shell)
    reader, writer = os.pipe()
    os.close(reader)

    process = subprocess.Popen(shell._command(MANUAL), stdout=writer, env=shell.environment)
    os.close(writer)

    assert process.wait(DEADLINE_S) == 0
    assert shell.ok("claim", "-a", "worker:s").endswith(" attempt=2\n")


@pytest.mark.both_ways
def test_a_command_that_succeeds_acks(shell: Shell) -> None:
    send(shell, '{"n": 1}')

    printed = shell.ok(*MANUAL, "--count", "1", "--exec", "cat; raven receipts 1 -j", PATH=PATH)

    message, then = (json.loads(line) for line in printed.splitlines())
    assert message["body"] == {"n": 1}
    assert (then["receipts"][0]["state"], then["receipts"][0]["leased"]) == ("delivered", True)
    assert shell.receipt(1)["state"] == "acked"


@pytest.mark.both_ways
def test_a_command_that_fails_gives_the_message_back_with_the_reason(shell: Shell) -> None:
    send(shell)

    done = shell.run(*MANUAL, "--count", "1", "--retry-delay", "1h", "--exec", "exit 3")

    assert (done.returncode, done.stderr) == (1, "error: exit 3: exit status 3 on message #1\n")
    receipt = shell.receipt(1)
    assert (receipt["state"], receipt["reason"], receipt["leased"]) == ("delivered", "exit status 3", False)
    assert receipt["ready_at"]


@pytest.mark.both_ways
def test_what_failed_comes_again_after_the_delay_until_it_is_dead(shell: Shell) -> None:
    send(shell, "{}", "--max-attempts", "2")

    done = shell.run(*MANUAL, "--count", "2", "--retry-delay", "50ms", "--exec", "kill -9 $$")

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: kill -9 $$: exit status 137 on message #1",
        "error: kill -9 $$: exit status 137 on message #1",
        "error: message #1 is dead: that was attempt 2, its last",
    ]
    assert shell.ok("dead-letters").endswith(' reason="exit status 137"\n')


@pytest.mark.both_ways
def test_a_failure_and_then_a_success_end_in_exit_1_and_an_ack(shell: Shell) -> None:
    send(shell)
    command = "test -e failed || { touch failed; exit 1; }"

    done = shell.run(*MANUAL, "--count", "2", "--retry-delay", "0s", "--exec", command)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert shell.receipt(1)["state"] == "acked"


def test_an_ack_that_comes_too_late_is_said_and_ends_in_exit_1(shell: Shell) -> None:
    """While the command runs, the owner of the mailbox gives the message to another."""
    send(shell)
    command = "raven nack 1 -a worker:s && raven claim -a worker:s"

    done = shell.run(*MANUAL, "--count", "1", "--exec", command, PATH=PATH)

    assert done.returncode == 1
    assert done.stderr.startswith("error: the lease on message #1 is lost: another consumer holds it")
    assert len(done.stderr.splitlines()) == 1
    assert shell.receipt(1)["leased"]


def test_the_lease_is_renewed_while_a_command_runs(shell: Shell) -> None:
    send(shell)
    process = shell.start(*MANUAL, "--count", "1", "--lease", "600ms", "--exec", "touch begun; sleep 2")
    wait_until((shell.folder / "begun").exists, "the command")

    while process.poll() is None:
        assert shell.ok("claim", "-a", "worker:s") == "(no messages)\n"

    assert finish(process) == (0, "", "")
    assert shell.receipt(1)["attempts"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_back_what_its_command_has_not_finished(shell: Shell, number: int) -> None:
    send(shell)
    process = shell.start(*MANUAL, "--exec", "touch begun; exec sleep 60")
    wait_until((shell.folder / "begun").exists, "the command")

    process.send_signal(number)

    assert finish(process) == (128 + number, "", "")
    assert shell.ok("claim", "-a", "worker:s").endswith(" attempt=2\n")


def test_a_signal_in_the_moment_of_its_start_leaves_no_command_behind(shell: Shell) -> None:
    """A child that outlived it would hold the output open, and `finish` would not return."""
    send(shell, "{}", "--max-attempts", "100")
    os.mkfifo(shell.folder / "begun")
    begun = os.open(shell.folder / "begun", os.O_RDWR)
    for _ in range(8):
        process = shell.start(*MANUAL, "--exec", "echo > begun; exec sleep 60")
        assert select.select([begun], [], [], DEADLINE_S)[0]
        os.read(begun, 10)

        process.send_signal(signal.SIGTERM)

        assert finish(process) == (128 + signal.SIGTERM, "", "")
    os.close(begun)


def test_when_it_is_killed_another_gets_the_message_after_the_lease(shell: Shell) -> None:
    send(shell)
    process = shell.start(*MANUAL, "--lease", "1s", "--exec", "touch begun; exec sleep 5")
    wait_until((shell.folder / "begun").exists, "the command")
    process.kill()
    process.wait(DEADLINE_S)

    printed = shell.ok("subscribe", "-a", "worker:s", "--count", "1", "--timeout", "20s", "--json")

    assert json.loads(printed)["attempts"] == 2
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ack", "never"], "'never' is not one of"),
        (["--lease", "10s"], "--lease and --retry-delay need --ack manual"),
        (["--ack", "auto", "--retry-delay", "10s"], "--lease and --retry-delay need --ack manual"),
        (["--ack", "manual", "--lease", "0"], "lease_s 0.0 is out of range"),
        (["--ack", "manual", "--lease", "2d"], "lease_s 172800.0 is out of range"),
        (["--ack", "manual", "--retry-delay", "soon"], "'soon' is not a duration"),
    ],
)
@pytest.mark.both_ways
def test_a_wrong_manual_subscribe_is_one_line(shell: Shell, arguments: list[str], said: str) -> None:
    assert said in shell.error(2, "subscribe", "-a", "worker:s", "--timeout", "1s", *arguments)
