"""The commands of a message in hand: claim, ack, nack, extend."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.cli.shell import Shell
from tests.support import wait_until

pytestmark = pytest.mark.both_ways

Sent = Callable[..., str]
WORKER = ("-a", "architect:swarm-1")
ENDING = re.compile(r" lease=(\d+) attempt=(\d+)$")


def claimed(shell: Shell, *options: str) -> list[tuple[str, str, str]]:
    """Claim as a script would: the id, the lease and the attempt of each message from its line."""
    messages = []
    for line in shell.ok("claim", *WORKER, *options).splitlines():
        ending = ENDING.search(line)
        assert ending, line
        messages.append((line.split()[0].removeprefix("#"), ending[1], ending[2]))
    return messages


def held(shell: Shell, sent: Sent, *options: str) -> tuple[str, str]:
    """Send one message and claim it; returns its id and the lease."""
    sent()
    [(message_id, lease, _)] = claimed(shell, *options)
    return message_id, lease


def end_lease(shell: Shell, message_id: str) -> None:
    """Wait until a lease that was given for a moment has ended."""
    wait_until(lambda: not shell.receipt(message_id)["leased"], "the end of the lease")


def test_claim_prints_the_line_with_its_lease_and_attempt(shell: Shell, sent: Sent) -> None:
    sent("--body", '{"step": 1}')

    printed = shell.ok("claim", *WORKER)

    line = '#1 conductor:swarm-1 -> architect:swarm-1 type=plan {"step": 1}'
    assert re.fullmatch(re.escape(line) + r" lease=\d+ attempt=1\n", printed)


def test_claim_with_nothing_ready_says_so_and_is_no_mistake(shell: Shell) -> None:
    assert shell.ok("claim", *WORKER) == "(no messages)\n"
    assert shell.json("claim", *WORKER, "--json") == {"messages": []}


def test_claim_takes_one_unless_told_otherwise_and_urgency_comes_first(shell: Shell, sent: Sent) -> None:
    for urgency in ("fyi", "prompt", "blocking"):
        sent("--urgency", urgency)

    first = shell.json("claim", *WORKER, "-j")["messages"]
    rest = shell.json("claim", *WORKER, "-m", "5", "-j")["messages"]

    assert [message["id"] for message in first] == [3]
    assert [message["id"] for message in rest] == [2, 1]
    assert (first[0]["state"], first[0]["attempts"]) == ("delivered", 1)
    assert first[0]["lease"] != rest[0]["lease"] == rest[1]["lease"]


def test_what_is_claimed_nobody_else_gets_until_its_lease_ends(shell: Shell, sent: Sent) -> None:
    message_id, _ = held(shell, sent, "--lease", "1s")
    assert shell.ok("claim", *WORKER) == "(no messages)\n"

    end_lease(shell, message_id)

    assert [(one, attempt) for one, _, attempt in claimed(shell)] == [("1", "2")]


def test_an_ack_with_its_lease_finishes_and_twice_is_the_same_as_once(shell: Shell, sent: Sent) -> None:
    message_id, lease = held(shell, sent)

    for _ in range(2):
        assert shell.ok("ack", message_id, "--lease", lease) == "acked #1\n"

    assert shell.receipt(message_id)["state"] == "acked"


def test_an_ack_whose_lease_has_passed_to_another_is_refused_with_the_lease_only(shell: Shell, sent: Sent) -> None:
    message_id, late = held(shell, sent, "--lease", "10ms")
    end_lease(shell, message_id)
    [(_, current, _)] = claimed(shell)

    said = [shell.error(1, command, message_id, "--lease", late) for command in ("ack", "nack", "extend")]

    assert all(text.startswith("the lease on message #1 is lost: another consumer holds it") for text in said)
    assert shell.receipt(message_id)["state"] == "delivered"
    assert shell.ok("extend", message_id, "--lease", current) == "extended #1\n"
    assert shell.ok("ack", message_id) == "acked #1\n"  # the owner of the mailbox may


def test_nack_gives_back_at_once_and_keeps_the_reason(shell: Shell, sent: Sent) -> None:
    message_id, lease = held(shell, sent)

    assert shell.ok("nack", message_id, *WORKER, "--lease", lease, "--reason", "no time") == "nacked #1\n"

    assert shell.receipt(message_id)["reason"] == "no time"
    assert [attempt for _, _, attempt in claimed(shell)] == ["2"]


def test_nack_with_a_delay_holds_it_back_that_long(shell: Shell, sent: Sent) -> None:
    message_id, _ = held(shell, sent)

    assert shell.json("nack", message_id, "--delay", "1h", "-j") == {"nacked": [{"id": 1, "state": "delivered"}]}

    assert shell.ok("claim", *WORKER) == "(no messages)\n"
    receipt = shell.receipt(message_id)
    assert receipt["ready_at"]
    assert not receipt["leased"]


def test_nack_of_the_last_attempt_says_that_it_is_dead(shell: Shell, sent: Sent) -> None:
    sent("--max-attempts", "1")
    sent("--max-attempts", "1")
    claimed(shell, "-m", "2")

    assert shell.ok("nack", "1") == "nacked #1: dead\n"
    assert shell.json("nack", "2", "-j") == {"nacked": [{"id": 2, "state": "dead"}]}


@pytest.mark.file_only
def test_max_attempts_of_raven_yaml_count_where_a_send_says_nothing(shell: Shell, sent: Sent) -> None:
    (shell.folder / "raven.yaml").write_text("max_attempts: 1\n")
    held(shell, sent)

    assert shell.ok("nack", "1") == "nacked #1: dead\n"


def test_extend_lets_the_lease_end_later_counted_from_now(shell: Shell, sent: Sent) -> None:
    message_id, _ = held(shell, sent, "--lease", "20s")
    before = str(shell.receipt(message_id)["ready_at"])

    assert shell.json("extend", message_id, "--for", "2h", "--json") == {"extended": [1]}

    assert str(shell.receipt(message_id)["ready_at"]) > before


def test_what_is_not_leased_is_not_extended_and_what_is_finished_not_given_back(shell: Shell, sent: Sent) -> None:
    sent()

    assert "the lease on message #1 is lost: it is not leased now" in shell.error(1, "extend", "1")
    shell.ok("ack", "1")
    assert "message #1 is acked: only an unfinished message can be nacked" in shell.error(1, "nack", "1")


def test_one_lease_finishes_all_that_was_claimed_with_it(shell: Shell, sent: Sent) -> None:
    for _ in range(3):
        sent()
    [(_, lease, _), *_] = claimed(shell, "-m", "3")

    assert shell.ok("extend", "1", "2", "3", "--lease", lease) == "extended #1\nextended #2\nextended #3\n"
    assert shell.ok("ack", "1", "2", "--lease", lease) == "acked #1\nacked #2\n"
    assert shell.ok("nack", "3", "--lease", lease) == "nacked #3\n"


@pytest.mark.parametrize("command", ["ack", "nack", "extend"])
def test_a_message_of_several_recipients_wants_the_role(shell: Shell, command: str) -> None:
    shell.ok("send", "--from", "a:s", "--to", "b:s", "--to", "c:s", "-t", "x")
    shell.ok("claim", "-a", "c:s")

    assert "went to b:s, c:s: choose one with --address" in shell.error(2, command, "1")
    assert shell.ok(command, "1", "-a", "c:s").endswith("ed #1\n")
    assert shell.ok("claim", "-a", "b:s").startswith("#1 ")


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (2, ["claim"], "Missing option '-a' / '--address'"),
        (2, ["claim", "-a", "*:s"], "'*:s' is a broadcast pattern"),
        (2, ["claim", "-a", "nobody"], "address 'nobody' has no ':'"),
        (2, ["claim", *WORKER, "-m", "0"], "max 0 is not a number of messages"),
        (2, ["claim", *WORKER, "--lease", "0"], "lease_s 0.0 is out of range"),
        (2, ["claim", *WORKER, "--lease", "2d"], "lease_s 172800.0 is out of range"),
        (2, ["claim", *WORKER, "--lease", "long"], "'long' is not a duration"),
        (2, ["ack"], "Missing argument 'ID...'"),
        (2, ["ack", "1", "--lease", "mine"], "'mine' is not a valid integer"),
        (2, ["ack", "1", "--lease", "0"], "0 is not in the range"),
        (2, ["ack", "1", "--lease", "9" * 30], "is not in the range"),
        (2, ["nack", "1", "--delay", "-1"], "'-1' is not a duration"),
        (2, ["nack", "1", "--reason", " "], "reason ' ' must be a text"),
        (2, ["extend", "1", "--for", "0"], "lease_s 0.0 is out of range"),
        (4, ["nack", "9"], "there is no message #9"),
        (4, ["extend", "9", *WORKER], "there is no message #9"),
        (4, ["nack", "1", "-a", "other:swarm-1"], "message #1 was not sent to other:swarm-1"),
    ],
)
def test_a_mistake_with_a_message_in_hand_is_one_line(
    shell: Shell, sent: Sent, code: int, arguments: list[str], said: str
) -> None:
    held(shell, sent)

    assert said in shell.error(code, *arguments)
    assert shell.receipt("1")["leased"]
