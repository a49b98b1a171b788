"""The commands that show conversations: thread and history."""

from __future__ import annotations

import pytest

from tests.cli.shell import Shell

pytestmark = pytest.mark.both_ways


def talk(shell: Shell) -> None:
    """Send a question (1), something else (2), two answers (3, 4) and one to an answer (5)."""
    shell.ok("send", "--from", "boss:s", "--to", "a:s", "--to", "b:s", "-t", "ask", "--correlation-id", "c")
    shell.ok("send", "--from", "boss:s", "--to", "a:s", "-t", "other", "--task-id", "t")
    shell.ok("reply", "1", "-a", "a:s", "-t", "yes")
    shell.ok("reply", "1", "-a", "b:s", "-t", "no")
    shell.ok("reply", "4", "-a", "boss:s", "-t", "why", "--task-id", "t")


def ids(shell: Shell, *arguments: str) -> list[int]:
    return [message["id"] for message in shell.json(*arguments, "--json")["messages"]]


def test_thread_prints_question_and_answers_in_order_from_any_of_them(shell: Shell) -> None:
    talk(shell)

    lines = shell.ok("thread", "3").splitlines()

    assert lines == [
        "#1 boss:s -> a:s, b:s type=ask {}",
        "#3 a:s -> boss:s type=yes {}",
        "#4 b:s -> boss:s type=no {}",
        "#5 boss:s -> b:s type=why {}",
    ]
    assert ids(shell, "thread", "5") == ids(shell, "thread", "1") == [1, 3, 4, 5]
    assert ids(shell, "thread", "2") == [2]


def test_thread_narrows_by_role_and_number(shell: Shell) -> None:
    talk(shell)

    assert ids(shell, "thread", "1", "-a", "b:s") == [1, 4, 5]
    assert ids(shell, "thread", "1", "--address", "b:s", "-m", "2") == [1, 4]
    assert shell.ok("thread", "2", "-a", "b:s") == "(no messages)\n"


def test_history_prints_a_conversation_or_a_task(shell: Shell) -> None:
    talk(shell)

    assert ids(shell, "history", "--correlation-id", "c") == [1, 3, 4, 5]
    assert shell.ok("history", "--task-id", "t").splitlines() == [
        "#2 boss:s -> a:s type=other {}",
        "#5 boss:s -> b:s type=why {}",
    ]
    assert ids(shell, "history", "--correlation-id", "c", "-a", "a:s", "-m", "1") == [1]
    assert shell.ok("history", "--task-id", "none") == "(no messages)\n"


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (2, ["thread"], "Missing argument 'ID'"),
        (2, ["thread", "one"], "'one' is not a valid integer"),
        (4, ["thread", "9"], "there is no message #9"),
        (2, ["thread", "1", "-m", "0"], "max 0 is not a number of messages"),
        (2, ["thread", "1", "-a", "boss"], "address 'boss' has no ':'"),
        (2, ["history"], "give either --correlation-id or --task-id"),
        (2, ["history", "--correlation-id", "c", "--task-id", "t"], "give either --correlation-id or --task-id"),
    ],
)
def test_a_mistake_with_a_conversation_is_one_line(shell: Shell, code: int, arguments: list[str], said: str) -> None:
    shell.ok("send", "--from", "boss:s", "--to", "a:s", "-t", "ask")

    assert said in shell.error(code, *arguments)
