"""The commands of work (claims, dead letters, requests, receipts) print the same over the socket as on the file."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import DEADLINE_S, Shell
from tests.cli.story import Result, Story, steps, tell_both_ways
from tests.serving import Served
from tests.support import wait_for_waiting, wait_until

SEND = ("send", "--from", "boss:s", "--to", "worker:s", "-t", "job")
WORKER = ("-r", "worker:s")


def step(method: str, **params: object) -> str:
    return json.dumps({"method": method, "params": params}) + "\n"


STORY: Story = [
    ((*SEND, "--dedup-key", "k", "--correlation-id", "c"), ""),
    ((*SEND, "--dedup-key", "k"), ""),
    ((*SEND, "--max-attempts", "1", "--report", "--task-id", "t"), ""),
    ((*SEND, "--max-attempts", "0"), ""),
    ((*SEND, "--max-attempts", "9999999"), ""),
    (("claim", *WORKER), ""),
    (("claim", *WORKER, "-m", "5", "--lease", "1h", "--json"), ""),
    (("claim", *WORKER), ""),
    (("claim", *WORKER, "-m", "0"), ""),
    (("claim", *WORKER, "--lease", "0"), ""),
    (("claim", *WORKER, "--lease", "2d"), ""),
    (("claim", "-r", "*:s"), ""),
    (("extend", "1", "--for", "2h"), ""),
    (("extend", "1", "--for", "2h", "--lease", "5"), ""),
    (("extend", "9", *WORKER), ""),
    (("extend", "1", "--for", "0"), ""),
    (("ack", "1", "--lease", "5"), ""),
    (("nack", "1", "--lease", "5", "--json"), ""),
    (("nack", "1", "--reason", "no time", "--delay", "1h", *WORKER), ""),
    (("nack", "1", "--reason", " "), ""),
    (("nack", "9"), ""),
    (("nack", "1", "-r", "other:s"), ""),
    (("receipts", "1"), ""),
    (("nack", "2", "--reason", "cannot be done \x1b[31m"), ""),
    (("nack", "2", "--json"), ""),
    (("ack", "1"), ""),
    (("nack", "1"), ""),
    (("extend", "1"), ""),
    (("inbox", "-r", "boss:s"), ""),
    (("receipts", "2", "--json"), ""),
    (("receipts", "9"), ""),
    (("dead",), ""),
    (("dead", *WORKER, "--json", "-m", "1"), ""),
    (("dead", "-r", "other:s"), ""),
    (("dead", "-m", "0"), ""),
    (("requeue",), ""),
    (("requeue", "2", "--all"), ""),
    (("requeue", "1"), ""),
    (("requeue", "2", "-r", "other:s"), ""),
    (("requeue", "2", "9"), ""),
    (("requeue", "2"), ""),
    (("requeue", "--all", "--json"), ""),
    (("subscribe", *WORKER, "--ack", "manual", "--count", "1", "--exec", "cat > /dev/null; exit 3"), ""),
    (("dead", "--purge", "-r", "other:s"), ""),
    (("dead", "--purge", "--json"), ""),
    (("dead",), ""),
    (SEND, ""),
    (("subscribe", *WORKER, "--ack", "manual", "--count", "1"), ""),
    ((*SEND, "--body", "1"), ""),
    (("subscribe", *WORKER, "--ack", "manual", "--lease", "10s", "--timeout", "1s", "-j"), ""),
    (("subscribe", *WORKER, "--ack", "manual", "--lease", "0", "--timeout", "1s"), ""),
    ((*SEND, "--wait", "acked", "--timeout", "300ms"), ""),
    ((*SEND, "--wait", "delivered", "--timeout", "0s", "--json"), ""),
    (("ack", "8"), ""),
    ((*SEND, "--dedup-key", "k", "--wait", "acked"), ""),
    ((*SEND, "--dedup-key", "k", "--wait", "acked", "--json"), ""),
    ((*SEND, "--timeout", "1s"), ""),
    (("request", "--from", "boss:s", "--to", "asked:s", "-t", "add", "--timeout", "300ms"), ""),
    (("request", "--from", "boss:s", "--to", "asked:s", "-t", "add", "--timeout", "0"), ""),
    (("request", "--from", "boss:s", "--to", "*:ghost", "-t", "add"), ""),
    (("request", "--from", "boss:s", "--to", "asked:s", "-t", " "), ""),
    (("claim", "-r", "asked:s"), ""),
    (("reply", "1", "-t", "done", "--body", '{"ok": true}'), ""),
    (("reply", "1", "-t", "done", *WORKER, "--json", "--urgency", "fyi"), ""),
    (("reply", "7", "-t", "done", "--ack"), ""),
    (("reply", "8", "-t", "done", "--ack", "--json"), ""),
    (("reply", "1", "-t", " "), ""),
    (("reply", "1", "-t", "x", "-r", "other:s", "--ack"), ""),
    (("reply", "99", "-t", "x"), ""),
    (("reply", "99", "-t", "x", *WORKER), ""),
    (("thread", "1"), ""),
    (("thread", "1", "-r", "boss:s", "-m", "2", "--json"), ""),
    (("thread", "99"), ""),
    (("thread", "1", "-m", "0"), ""),
    (("history", "--correlation-id", "c"), ""),
    (("history", "--task-id", "t", "--json"), ""),
    (("history", "--task-id", "none"), ""),
    (("history",), ""),
    (("transaction", *WORKER), ""),
    (("transaction", *WORKER), step("send", to=["a:s", "b:s"], type="news", body=[1]) + step("ack", id=6)),
    (("transaction", *WORKER, "-j"), step("send_many", messages=[{"to": "a:s", "type": "n"}]) + step("ack", id=6)),
    (("transaction", *WORKER), step("reply", id=1, type="more") + step("ack", id=6) + step("ack", id=99)),
    (("transaction", *WORKER), step("send", to="d:s", type="x") + "\n" + step("nack", id=1, reason="x")),
    (("transaction", *WORKER), step("send", to="d", type="x")),
    (("transaction", *WORKER), step("send", to="*:ghost", type="x")),
    (("transaction", *WORKER), "{bad"),
    (("inbox", "-r", "d:s"), ""),
    (("tail", "--no-follow"), ""),
    (("prune", "--older-than", "0s", "--dry-run"), ""),
    (("prune", "--older-than", "0s", "--json"), ""),
    (("prune", "--older-than", "0s"), ""),
    (("prune", "--older-than", "soon"), ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Result]]:
    return tell_both_ways(tmp_path_factory.mktemp("story"), STORY)


@pytest.fixture
def served(shell: Shell) -> Iterator[Served]:
    """Serve the shell user's own bus."""
    one = Served(shell.db)
    yield one
    one.close()


@pytest.mark.parametrize("name", steps(STORY))
def test_a_command_of_work_is_the_same_over_the_socket(stories: dict[str, dict[str, Result]], name: str) -> None:
    code, printed, complained = stories["file"][name]

    assert stories["socket"][name] == (code, printed, complained)
    assert (complained == "") == (code == 0)


def test_the_story_of_work_has_every_exit_code_that_it_can_see(stories: dict[str, dict[str, Result]]) -> None:
    assert {code for code, _, _ in stories["file"].values()} == {0, 1, 2, 4, 6}


def test_a_late_ack_is_refused_over_the_socket(shell: Shell, served: Served) -> None:
    shell.ok(*SEND)
    [late] = shell.json("claim", *WORKER, "--lease", "1ms", "-j", "--socket", served.path)["messages"]
    wait_until(lambda: shell.json("claim", *WORKER, "-j", "--socket", served.path)["messages"], "the next claim")

    said = shell.error(1, "ack", "1", "--lease", str(late["lease"]), "--socket", served.path)

    assert said.startswith("the lease on message #1 is lost: another has it now")


def test_a_request_through_the_helper_is_answered_on_the_file(shell: Shell, served: Served) -> None:
    process: subprocess.Popen[str] = shell.start(
        "request", "--from", "boss:s", "--to", "worker:s", "-t", "add", "--socket", served.path
    )
    wait_until(lambda: shell.json("inbox", *WORKER, "--peek", "-j")["messages"], "the request")

    shell.ok("reply", "1", "-t", "sum", "--body", "3", "--ack")

    assert process.communicate(timeout=DEADLINE_S) == ("3\n", "")
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_what_waits_over_the_socket(shell: Shell, served: Served, number: int) -> None:
    request = ("request", "--from", "boss:s", "--to", "other:s", "-t", "add")
    for command in (request, (*SEND, "--wait", "acked", "-j"), ("subscribe", "-r", "idle:s", "--ack", "manual")):
        process = shell.start(*command, "--socket", served.path)
        if command[0] == "subscribe":
            wait_for_waiting(shell.db, "idle:s")
        else:
            to = command[4]
            wait_until(lambda to=to: shell.json("inbox", "-r", to, "-j")["messages"], "the message")

        process.send_signal(number)

        printed, complained = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, printed, complained) == (128 + number, "", "")


def test_own_statements_need_the_file(shell: Shell, served: Served) -> None:
    text = step("send", to="a:s", type="x") + step("execute", sql="SELECT 1")

    said = shell.error(2, "transaction", *WORKER, "--socket", served.path, stdin=text)

    assert said == "line 2: execute needs the bus file: leave out --socket and RAVEN_SOCKET"
    assert shell.ok("tail", "--no-follow", "--socket", served.path) == ""


@pytest.mark.parametrize(
    "command",
    [("claim", *WORKER), ("nack", "1"), ("extend", "1"), ("dead",), ("requeue", "1"), ("receipts", "1"),
     ("thread", "1"), ("history", "--task-id", "t"), ("reply", "1", "-t", "x"),
     ("request", "--from", "a:s", "--to", "b:s", "-t", "x"), ("transaction", *WORKER), ("prune",)],
)  # fmt: skip
def test_a_command_of_work_uses_one_way_to_the_bus(shell: Shell, command: tuple[str, ...]) -> None:
    both = ("--db", "bus.db", "--socket", "bus.db.sock")

    assert "--db and --socket exclude each other" in shell.error(2, *command, *both)
    said = shell.error(1, *command, RAVEN_SOCKET="none.sock", RAVEN_CONNECT_TIMEOUT_S="0.1", stdin=step("ack", id=1))
    assert said.startswith("the helper cannot be reached at none.sock")
    assert not Path(shell.db).exists()
