"""The commands for dead deliveries: dead-letters and requeue."""

from __future__ import annotations

import re

import pytest

from tests.cli.shell import Shell

pytestmark = pytest.mark.both_ways


def die(shell: Shell, to: str = "worker:s", reason: str = "out of memory", *options: str) -> None:
    """Send a message whose first attempt is its last, and let it fail."""
    shell.ok("send", "--from", "boss:s", "--to", to, "-t", "job", "--max-attempts", "1", *options)
    [message] = shell.json("claim", "-a", to, "-j")["messages"]
    assert shell.ok("nack", str(message["id"]), "--reason", reason) == f"nacked #{message['id']}: dead\n"


def dead(shell: Shell, *options: str) -> list[int]:
    return [message["id"] for message in shell.json("dead-letters", "--json", *options)["messages"]]


def test_dead_shows_the_line_with_attempts_time_and_reason(shell: Shell) -> None:
    die(shell)

    printed = shell.ok("dead-letters")

    line = '#1 boss:s -> worker:s type=job {} attempts=1 died=TIME reason="out of memory"\n'
    assert re.sub(r"\d{4}-\S+Z", "TIME", printed) == line
    [message] = shell.json("dead-letters", "-j")["messages"]
    assert (message["state"], message["reason"], message["attempts"]) == ("dead", "out of memory", 1)
    assert message["finished_at"]


def test_nothing_dead_is_said_so(shell: Shell) -> None:
    shell.ok("session", "init", "s")

    assert shell.ok("dead-letters") == "(no messages)\n"
    assert dead(shell) == []
    assert shell.ok("dead-letters", "--purge") == "dropped 0 dead messages\n"
    assert shell.json("requeue", "--all", "-j") == {"requeued": 0}


def test_dead_narrows_by_role_and_number(shell: Shell) -> None:
    for to in ("worker:s", "other:s", "worker:s"):
        die(shell, to)

    assert dead(shell) == [1, 2, 3]
    assert dead(shell, "-a", "worker:s") == [1, 3]
    assert dead(shell, "-a", "worker:s", "-m", "1") == [1]
    assert dead(shell, "-a", "nothing:s") == []


def test_no_reason_can_forge_a_terminal_line(shell: Shell) -> None:
    die(shell, "worker:s", "x\n#9 boss:hq -> you:hq type=order \u001b[31m\u202e")

    for shown in (shell.ok("dead-letters"), shell.ok("receipts", "1"), shell.ok("dead-letters", "-j")):
        assert not set(shown) & {"\u001b", "\u202e"}
        assert not [line for line in shown.splitlines() if line.startswith("#9")]


def test_purge_drops_what_has_died_and_nothing_else(shell: Shell) -> None:
    for to in ("worker:s", "other:s", "other:s"):
        die(shell, to)
    shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "job")

    assert shell.ok("dead-letters", "--purge", "-a", "worker:s") == "dropped 1 dead message\n"
    assert dead(shell) == [2, 3]
    assert shell.json("dead-letters", "--purge", "--json") == {"purged": 2}
    # For a minute their senders can ask what became of them.
    assert dead(shell) == []
    shell.ok("prune", "--older-than", "0s", "--grace", "0s")
    assert [line.split()[0] for line in shell.ok("tail", "--no-follow").splitlines()] == ["#4"]


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("n\n", 1, [1]), ("\n", 1, [1]), ("\x04", 130, [1]), ("y\n", 0, [])]
)
def test_purge_asks_at_a_terminal_and_drops_only_after_a_yes(
    shell: Shell, answer: str, code: int, left: list[int]
) -> None:
    die(shell)

    ended, shown = shell.on_terminal("dead-letters", "--purge", "-a", "worker:s", typed=answer)

    assert "Delete all dead messages to worker:s? [y/N]" in shown
    assert "Traceback" not in shown
    assert (ended, dead(shell)) == (code, left)


def test_purge_with_yes_asks_nobody(shell: Shell) -> None:
    die(shell)

    ended, shown = shell.on_terminal("dead-letters", "--purge", "--yes", typed="")

    assert (ended, shown.split()) == (0, ["dropped", "1", "dead", "message"])


def test_requeue_revives_with_all_attempts_before_it(shell: Shell) -> None:
    die(shell)

    assert shell.ok("requeue", "1") == "requeued 1 dead message\n"

    assert dead(shell) == []
    [message] = shell.json("claim", "-a", "worker:s", "-j")["messages"]
    assert (message["id"], message["attempts"]) == (1, 1)


def test_requeue_of_several_is_all_or_none(shell: Shell) -> None:
    for _ in range(2):
        die(shell)
    shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "job")

    assert "message #3 is not dead" in shell.error(1, "requeue", "1", "3")
    assert dead(shell) == [1, 2]
    assert shell.json("requeue", "1", "2", "--json") == {"requeued": 2}
    assert dead(shell) == []


def test_requeue_all_may_be_narrowed_to_one_recipient(shell: Shell) -> None:
    for to in ("worker:s", "other:s", "worker:s"):
        die(shell, to)

    assert shell.ok("requeue", "--all", "--address", "worker:s") == "requeued 2 dead messages\n"
    assert dead(shell) == [2]
    assert shell.ok("requeue", "--all") == "requeued 1 dead message\n"


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (2, ["requeue"], "give the IDs of dead messages, or --all"),
        (2, ["requeue", "1", "--all"], "give the IDs of dead messages, or --all"),
        (2, ["requeue", "one"], "'one' is not a valid integer"),
        (4, ["requeue", "9"], "there is no message #9"),
        (4, ["requeue", "1", "-a", "other:s"], "there is no message #1 to other:s"),
        (2, ["requeue", "1", "-a", "other"], "address 'other' has no ':'"),
        (2, ["dead-letters", "-m", "0"], "max 0 is not a number of messages"),
        (2, ["dead-letters", "--purge", "-a", "*:s"], "'*:s'"),
    ],
)
def test_a_mistake_with_the_dead_is_one_line_and_changes_nothing(
    shell: Shell, code: int, arguments: list[str], said: str
) -> None:
    die(shell)

    assert said in shell.error(code, *arguments)
    assert dead(shell) == [1]
