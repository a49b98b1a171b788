"""The commands that ask and answer: request and reply."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.cli.shell import Shell, finish
from tests.support import wait_until

pytestmark = pytest.mark.both_ways

REQUEST = ("request", "--from", "boss:s", "--to", "worker:s", "-t", "add", "--body", "[1, 2]")


def asked(shell: Shell, *options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """Start a request and claim its message."""
    shell.ok("session", "init", "s")
    process = shell.start(*REQUEST, *options)
    [message] = wait_until(lambda: shell.json("claim", "-a", "worker:s", "-j")["messages"], "the request")
    return process, message


def test_request_prints_the_body_of_the_answer(shell: Shell) -> None:
    process, message = asked(shell)

    printed = shell.ok("reply", str(message["id"]), "-a", "worker:s", "-t", "sum", "--body", '{"sum": 3}')

    assert printed == f"sent #2 worker:s -> {message['reply_address']} type=sum\n"
    assert finish(process) == (0, '{"sum": 3}\n', "")


def test_request_json_prints_the_whole_answer(shell: Shell) -> None:
    process, message = asked(shell, "--json", "--correlation-id", "c", "--task-id", "t", "--tag", "x")

    sent = shell.json("reply", str(message["id"]), "-t", "sum", "--body", "3", "-j")

    code, printed, complained = finish(process)
    answer = json.loads(printed)
    assert (code, complained) == (0, "")
    assert (answer["id"], answer["body"], answer["reply_to"], answer["state"]) == (sent["id"], 3, 1, "acked")
    assert (answer["correlation_id"], answer["task_id"]) == ("c", "t")
    assert (message["type"], message["body"], message["tags"]) == ("add", [1, 2], ["x"])


def test_reply_with_ack_does_both(shell: Shell) -> None:
    process, message = asked(shell)

    printed = shell.ok("reply", "1", "-a", "worker:s", "-t", "sum", "--ack", "--lease", str(message["lease"]))

    assert printed.splitlines()[1:] == ["acked #1"]
    assert shell.state(1) == "acked"
    assert finish(process) == (0, "{}\n", "")


def test_reply_with_an_ack_that_is_refused_sends_nothing(shell: Shell) -> None:
    shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "job")
    [first] = shell.json("claim", "-a", "worker:s", "--lease", "1ms", "-j")["messages"]
    wait_until(lambda: shell.json("claim", "-a", "worker:s", "-j")["messages"], "the second claim")

    said = shell.error(1, "reply", "1", "-t", "done", "--ack", "--lease", str(first["lease"]))

    assert said.startswith("the lease on message #1 is lost")
    assert shell.ok("inbox", "-a", "boss:s") == "(no messages)\n"


def test_reply_without_a_request_goes_to_the_sender_in_the_same_conversation(shell: Shell) -> None:
    shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "job", "--correlation-id", "c", "--task-id", "t")

    assert shell.ok("reply", "1", "-t", "done") == "sent #2 worker:s -> boss:s type=done\n"
    shell.ok("reply", "1", "-t", "more", "--task-id", "other", "--urgency", "blocking", "--expires-in", "1h")

    more, done = shell.json("inbox", "-a", "boss:s", "-j")["messages"]
    assert (done["reply_to"], done["correlation_id"], done["task_id"]) == (1, "c", "t")
    assert (more["reply_to"], more["correlation_id"], more["task_id"]) == (1, "c", "other")
    assert more["expires_at"]
    assert done["expires_at"] is None
    assert shell.state(1) == "sent"


def test_reply_to_a_message_of_several_recipients_wants_the_role(shell: Shell) -> None:
    shell.ok("send", "--from", "boss:s", "--to", "a:s", "--to", "b:s", "-t", "job")

    assert "went to a:s, b:s: choose one with --address" in shell.error(2, "reply", "1", "-t", "x")
    assert shell.ok("reply", "1", "-a", "b:s", "-t", "x") == "sent #2 b:s -> boss:s type=x\n"


def test_request_that_times_out_is_one_line_and_nobody_begins_with_it_any_more(shell: Shell) -> None:
    said = shell.error(1, *REQUEST, "--timeout", "200ms")

    assert said == "no reply to message #1 arrived within 0.2 s"
    assert shell.ok("claim", "-a", "worker:s") == "(no messages)\n"
    assert shell.state(1) == "expired"


def test_an_answer_that_comes_too_late_is_refused(shell: Shell) -> None:
    process, message = asked(shell, "--timeout", "1500ms")
    assert finish(process)[0] == 1

    said = shell.error(1, "reply", str(message["id"]), "-a", "worker:s", "-t", "sum")

    assert said == "request #1 has expired or was withdrawn: its sender no longer waits"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.file_only
def test_a_signal_ends_a_request_and_withdraws_it(shell: Shell, number: int) -> None:
    shell.ok("session", "init", "s")
    process = shell.start(*REQUEST)
    wait_until(lambda: shell.json("inbox", "-a", "worker:s", "--peek", "-j")["messages"], "the request")

    process.send_signal(number)

    assert finish(process) == (128 + number, "", "")
    assert shell.state(1) == "expired"


# Interrupts the first text that is executed, which is that of a named tuple: Python marks its process as interrupted.
INTERRUPTED_IMPORT = """
import signal, sys
from raven.cli.main import main

def interrupt(frame, event, arg):
    if frame.f_code.co_filename == "<string>":
        sys.setprofile(None)
        print("interrupted")
        signal.raise_signal(signal.SIGINT)

sys.setprofile(interrupt)
main()
"""


def test_an_interrupt_in_an_import_ends_a_command_with_the_exit_code_of_interrupts(shell: Shell) -> None:
    command = [sys.executable, "-c", INTERRUPTED_IMPORT, "send", "--from", "a:s", "--to", "b:s", "-t", "x"]

    done = subprocess.run(command, capture_output=True, cwd=shell.folder, env=shell.environment, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (130, "interrupted\n", "")


def test_the_text_of_an_answer_cannot_recolour_a_terminal(shell: Shell) -> None:
    process, _ = asked(shell)

    shell.ok("reply", "1", "-t", "sum", "--body", json.dumps("\u001b[31m\u202e\u009b"))

    _, printed, _ = finish(process)
    assert not set(printed) & {"\u001b", "\u009b", "\u202e"}


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (2, [*REQUEST[:-2], "--body", "{bad"], "body '{bad' is not JSON"),
        (2, [*REQUEST, "--timeout", "0"], "timeout_s 0.0 is out of range"),
        (2, [*REQUEST, "--timeout", "8d"], "timeout_s 691200.0 is out of range"),
        (2, [*REQUEST, "--expires-in", "1s"], "No such option"),
        (2, [*REQUEST, "--max-attempts", "0"], "0 is not in the range"),
        (2, ["request", "--to", "worker:s", "-t", "add"], "Missing option '--from'"),
        (6, ["request", "--from", "boss:s", "--to", "*:ghost", "-t", "add"], "no registered address matches"),
        (2, ["reply", "1"], "Missing option '-t' / '--type'"),
        (2, ["reply", "1", "-t", "x", "--lease", "5"], "--lease needs --ack"),
        (2, ["reply", "1", "-t", "x", "--body", "1", "--body-file", "-"], "exclude each other"),
        (2, ["reply", "one", "-t", "x"], "'one' is not a valid integer"),
        (4, ["reply", "9", "-t", "x"], "there is no message #9"),
        (4, ["reply", "9", "-a", "worker:s", "-t", "x"], "there is no message #9"),
        (4, ["reply", "1", "-a", "other:s", "-t", "x", "--ack"], "message #1 was not sent to other:s"),
    ],
)
def test_a_wrong_question_or_answer_is_one_line_and_sends_nothing(
    shell: Shell, code: int, arguments: list[str], said: str
) -> None:
    shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "job")

    assert said in shell.error(code, *arguments)
    assert len(shell.ok("tail", "--no-follow").splitlines()) == 1
