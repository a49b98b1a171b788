"""The state of a message: receipts, and the output and the waiting of `send`."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from tests.cli.shell import Shell, finish
from tests.support import bells, wait_until

pytestmark = pytest.mark.both_ways

Sent = Callable[..., str]
SEND = ("send", "--from", "boss:s", "--to", "worker:s", "-t", "job")


def wait_for_mail(shell: Shell, role: str = "worker:s") -> None:
    wait_until(lambda: shell.json("inbox", "-a", role, "--peek", "-j")["messages"], "the message")


def test_receipts_are_a_table_of_all_recipients(shell: Shell) -> None:
    shell.ok("send", "--from", "boss:s", "--to", "a:s", "--to", "b:s", "-t", "job", "--max-attempts", "2")
    shell.ok("claim", "-a", "a:s")
    shell.ok("nack", "1", "-a", "a:s", "--reason", "no time")

    heading, first, second = shell.ok("receipts", "1").splitlines()

    assert heading.split() == ["RECIPIENT", "STATE", "ATTEMPTS", "DELIVERED", "FINISHED", "REASON"]
    assert first.split()[:3] == ["a:s", "delivered", "1/2"]
    assert first.split()[3].endswith("Z")
    assert first.split()[4:] == ["-", "no", "time"]
    assert second.split() == ["b:s", "sent", "0/2", "-", "-", "-"]


def test_receipts_json_is_an_object_of_receipts(shell: Shell) -> None:
    shell.ok(*SEND, "--expires-in", "1h")
    shell.ok("claim", "-a", "worker:s")

    [receipt] = shell.json("receipts", "1", "--json")["receipts"]

    assert (receipt["recipient"], receipt["state"], receipt["attempts"]) == ("worker:s", "delivered", 1)
    assert receipt["leased"]
    assert receipt["ready_at"] < receipt["expires_at"]
    assert receipt["finished_at"] is None


def test_send_of_a_duplicate_sends_nothing_and_says_that_it_was_there(shell: Shell) -> None:
    first = shell.json(*SEND, "--dedup-key", "k", "-j")
    again = shell.json(*SEND, "--dedup-key", "k", "-j")

    assert shell.ok(*SEND, "--dedup-key", "k") == "sent #1 boss:s -> worker:s type=job (already sent)\n"
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert first["waiting"] == {"worker:s": False}
    assert len(shell.json("inbox", "-a", "worker:s", "-j")["messages"]) == 1


def test_send_waits_until_all_have_acked(shell: Shell) -> None:
    shell.ok("session", "init", "s")
    process = shell.start("send", "--from", "boss:s", "--to", "a:s", "--to", "b:s", "-t", "job", "--wait", "acked")
    assert process.stdout
    assert process.stdout.readline() == "sent #1 boss:s -> a:s, b:s type=job\n"

    shell.ok("ack", "1", "-a", "a:s")
    shell.ok("inbox", "-a", "b:s")
    assert process.poll() is None
    shell.ok("ack", "1", "-a", "b:s")

    assert finish(process) == (0, "acked by a:s, b:s\n", "")


def test_send_waits_until_it_is_delivered_and_prints_the_receipts_as_json(shell: Shell) -> None:
    shell.ok("session", "init", "s")
    process = shell.start(*SEND, "--wait", "delivered", "--timeout", "20s", "--json")
    wait_for_mail(shell)

    shell.ok("inbox", "-a", "worker:s")

    code, printed, complained = finish(process)
    message = json.loads(printed)
    assert (code, complained) == (0, "")
    assert (message["id"], message["type"]) == (1, "job")
    assert [(one["recipient"], one["state"]) for one in message["receipts"]] == [("worker:s", "delivered")]


def test_send_that_waits_in_vain_says_what_it_has_sent(shell: Shell) -> None:
    done = shell.run(*SEND, "--wait", "acked", "--timeout", "200ms")

    assert (done.returncode, done.stdout) == (1, "sent #1 boss:s -> worker:s type=job\n")
    assert done.stderr == "error: sent #1, but message #1 was not acked within 0.2 s by worker:s\n"
    said = shell.error(1, *SEND, "--wait", "delivered", "--timeout", "0", "--json")
    assert said == "sent #2, but message #2 was not delivered within 0 s by worker:s"


def test_send_that_waits_for_what_dies_says_so_at_once(shell: Shell) -> None:
    shell.ok("session", "init", "s")
    process = shell.start(*SEND, "--wait", "acked", "--max-attempts", "1", "--json")
    wait_for_mail(shell)

    shell.ok("claim", "-a", "worker:s")
    shell.ok("nack", "1", "--reason", "cannot be done")

    said = "error: sent #1, but message #1 will not be acked: worker:s: dead, cannot be done\n"
    assert finish(process) == (1, "", said)


def test_send_waits_for_a_message_that_was_there_already(shell: Shell) -> None:
    shell.ok(*SEND, "--dedup-key", "k")
    shell.ok("ack", "1")

    printed = shell.ok(*SEND, "--dedup-key", "k", "--wait", "acked")

    assert printed == "sent #1 boss:s -> worker:s type=job (already sent)\nacked by worker:s\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_of_a_send_and_not_the_message(shell: Shell, number: int) -> None:
    shell.ok("session", "init", "s")
    process = shell.start(*SEND, "--wait", "acked", "--json")
    wait_until(lambda: bells(shell.db), "the wait")

    process.send_signal(number)

    assert finish(process) == (128 + number, "", "")
    assert shell.ok("claim", "-a", "worker:s").startswith("#1 ")


def test_report_tells_the_sender_of_what_has_died(shell: Shell) -> None:
    shell.ok(*SEND, "--report", "--max-attempts", "1")
    shell.ok("claim", "-a", "worker:s")
    shell.ok("nack", "1", "--reason", "cannot be done")

    [report] = shell.json("inbox", "-a", "boss:s", "-j")["messages"]

    assert (report["type"], report["sender"], report["reply_to"]) == ("raven.undelivered", "worker:s", 1)
    assert (report["body"]["state"], report["body"]["reason"]) == ("dead", "cannot be done")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--wait", "read"], "'read' is not one of"),
        (["--timeout", "1s"], "--timeout needs --wait"),
        (["--wait", "acked", "--timeout", "soon"], "'soon' is not a duration"),
        (["--max-attempts", "0"], "0 is not in the range"),
        (["--max-attempts", "9999999"], "max_attempts 9999999 is not a number of attempts"),
        (["--max-attempts", "many"], "'many' is not a valid integer"),
    ],
)
def test_a_wrong_wait_sends_nothing(shell: Shell, options: list[str], said: str) -> None:
    shell.ok("session", "init", "s")

    assert said in shell.error(2, *SEND, *options)
    assert shell.ok("tail", "--no-follow") == ""
