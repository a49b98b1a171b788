"""Several things in one commit: transaction."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raven import BusClient, DatabaseError
from raven.cli.commands.transaction import Call, run_batch
from tests.cli.shell import Shell

pytestmark = pytest.mark.both_ways

ROLE = ("transaction", "-a", "worker:s")


def lines(*steps: tuple[str, dict[str, Any]]) -> str:
    return "".join(json.dumps({"method": method, "params": params}) + "\n" for method, params in steps)


def sent(shell: Shell) -> list[str]:
    """Return the types of all messages of the bus."""
    return [json.loads(line)["type"] for line in shell.ok("tail", "--no-follow", "--json").splitlines()]


def jobs(shell: Shell, count: int) -> int:
    """Send jobs to the worker and claim them; returns the lease."""
    for _ in range(count):
        shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "job", "--max-attempts", "2")
    messages = shell.json("claim", "-a", "worker:s", "-m", str(count), "-j")["messages"]
    assert len(messages) == count
    return int(messages[0]["lease"])


def test_all_that_the_lines_say_is_done_and_each_has_its_result(shell: Shell) -> None:
    lease = jobs(shell, 3)
    text = lines(
        ("ack", {"id": 1, "lease": lease}),
        ("nack", {"id": 2, "delay_s": 60, "reason": "later"}),
        ("extend", {"id": 3, "lease_s": 60}),
        ("send", {"to": ["a:s", "b:s"], "type": "news", "body": [1], "urgency": "fyi", "tags": ["x"]}),
        ("send_many", {"messages": [{"to": "a:s", "type": "one"}, {"to": "a:s", "type": "two"}]}),
        ("reply", {"id": 1, "type": "done", "body": {"ok": True}}),
    )

    results = [json.loads(line) for line in shell.ok(*ROLE, stdin=text).splitlines()]

    assert results[:3] == [{"acked": [1]}, {"nacked": [{"id": 2, "state": "delivered"}]}, {"extended": [3]}]
    assert (results[3]["id"], results[3]["to"], results[3]["tags"]) == (4, ["a:s", "b:s"], ["x"])
    assert [message["id"] for message in results[4]["messages"]] == [5, 6]
    assert (results[5]["id"], results[5]["reply_to"], results[5]["recipient"]) == (7, 1, "boss:s")
    assert sent(shell)[3:] == ["news", "one", "two", "done"]
    assert [receipt["state"] for receipt in shell.json("receipts", "1", "-j")["receipts"]] == ["acked"]


def test_json_prints_one_object_of_results(shell: Shell) -> None:
    jobs(shell, 2)
    (shell.folder / "steps").write_text(lines(("ack", {"id": 1}), ("ack", {"id": 2})))

    assert shell.json(*ROLE, "steps", "--json") == {"results": [{"acked": [1]}, {"acked": [2]}]}


def test_where_one_line_fails_nothing_is_done_and_the_line_is_named(shell: Shell) -> None:
    jobs(shell, 1)
    text = lines(("send", {"to": "a:s", "type": "news"}), ("ack", {"id": 1}), ("ack", {"id": 9}))

    said = shell.error(4, *ROLE, stdin=text)

    assert said == "line 3: ack: there is no message #9: it was never sent, or it was pruned"
    assert sent(shell) == ["job"]
    assert shell.state(1) == "delivered"


@pytest.mark.file_only
def test_own_tables_are_written_in_the_same_commit(shell: Shell) -> None:
    jobs(shell, 1)
    text = lines(
        ("execute", {"sql": "CREATE TABLE IF NOT EXISTS done (id INTEGER PRIMARY KEY, result TEXT, raw BLOB)"}),
        ("execute", {"sql": "INSERT INTO done VALUES (?, ?, x'00ff')", "params": [1, "fine"]}),
        ("ack", {"id": 1}),
        ("execute", {"sql": "SELECT * FROM done WHERE id = :id", "params": {"id": 1}}),
    )

    results = [json.loads(line) for line in shell.ok(*ROLE, stdin=text).splitlines()]
    said = shell.error(2, *ROLE, stdin=text)

    assert results == [{"rows": []}, {"rows": []}, {"acked": [1]}, {"rows": [[1, "fine", "00ff"]]}]
    assert said.startswith('line 2: execute: the statement "INSERT INTO done VALUES')
    assert "UNIQUE" in said


@pytest.mark.file_only
def test_the_tables_of_raven_are_not_for_own_statements(shell: Shell) -> None:
    jobs(shell, 1)

    said = shell.error(2, *ROLE, stdin=lines(("execute", {"sql": "DELETE FROM deliveries"})))

    assert said.startswith("line 1: execute: the statement 'DELETE FROM deliveries' failed")
    assert shell.state(1) == "delivered"


def test_a_reply_to_what_another_has_acked_is_undone_with_its_ack(shell: Shell) -> None:
    lease = jobs(shell, 1)
    shell.ok("nack", "1")
    shell.ok("claim", "-a", "worker:s")
    text = lines(("reply", {"id": 1, "type": "done"}), ("ack", {"id": 1, "lease": lease}))

    assert shell.error(1, *ROLE, stdin=text).startswith("line 2: ack: the lease on message #1 is lost")
    assert shell.ok("inbox", "-a", "boss:s") == "(no messages)\n"


def test_nothing_to_do_is_no_mistake(shell: Shell) -> None:
    assert shell.ok(*ROLE, stdin="") == ""
    assert shell.ok(*ROLE, stdin=" \n\n") == ""
    assert shell.json(*ROLE, "-", "-j") == {"results": []}


def test_blank_lines_count_and_say_nothing(shell: Shell) -> None:
    text = "\n" + lines(("ack", {"id": 9}))

    assert shell.error(4, *ROLE, stdin=text).startswith("line 2: ack: there is no message #9")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{bad", "line 2 is not JSON"),
        ('"\\ud800', "line 2 is not JSON"),
        ("[" * 100000, "line 2 is not JSON"),
        ("[1]", 'line 2 is not an object with "method" and "params"'),
        ('{"params": {}}', 'line 2 is not an object with "method" and "params"'),
        ('{"method": "send", "param": {}}', 'line 2 is not an object with "method" and "params"'),
        ('{"method": "fly"}', "line 2: the method 'fly' is not known: use send, send_many"),
        ('{"method": ["send"]}', "line 2: the method ['send'] is not known"),
        ('{"method": "ack", "params": [1]}', "line 2: ack: the params are not an object"),
        ('{"method": "ack"}', "line 2: ack: 'id' is missing"),
        ('{"method": "ack", "params": {"id": "1"}}', "line 2: ack: id '1' is not a number"),
        (
            '{"method": "ack", "params": {"id": 1, "role": "a:s"}}',
            "line 2: ack: 'role' is not a parameter of it",
        ),
        ('{"method": "send", "params": {"to": "a:s"}}', "line 2: send: 'type' is missing"),
        ('{"method": "send", "params": {"to": "a", "type": "x"}}', "line 2: send: address 'a' has no ':'"),
        ('{"method": "send", "params": {"to": "a:s", "type": "x", "tags": "y"}}', "line 2: send: tags 'y' is not"),
        ('{"method": "send", "params": {"to": "a:s", "type": "x", "reply_address": "y:s"}}', "'reply_address' is no"),
        ('{"method": "send_many", "params": {"messages": 1}}', "line 2: send_many: messages is int"),
        (
            '{"method": "reply", "params": {"id": 1, "type": "x", "to": "a:s"}}',
            "line 2: reply: 'to' is not a parameter",
        ),
        ('{"method": "extend", "params": {"id": 1, "lease_s": 0}}', "line 2: extend: lease_s 0 is out of range"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_done(shell: Shell, line: str, said: str) -> None:
    jobs(shell, 1)
    text = lines(("send", {"to": "a:s", "type": "news"})) + line + "\n"

    assert said in shell.error(2, *ROLE, stdin=text)
    assert sent(shell) == ["job"]


@pytest.mark.file_only
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"method": "ack", "params": {"id": 1, "lease": [1]}}', "line 2: ack: lease [1] is not a lease token"),
        ('{"method": "nack", "params": {"id": 1, "delay_s": "1s"}}', "line 2: nack: delay_s '1s' is not a number"),
        ('{"method": "execute", "params": {"sql": "COMMIT"}}', "line 2: execute: the statement 'COMMIT' failed"),
        ('{"method": "execute", "params": {"sql": "SELECT ?", "params": 1}}', "line 2: execute: params 1 is neither"),
    ],
)
def test_a_wrong_value_or_statement_is_named_and_nothing_is_done(shell: Shell, line: str, said: str) -> None:
    test_a_wrong_line_is_named_and_nothing_is_done(shell, line, said)


@pytest.mark.file_only
def test_what_is_no_text_and_what_is_no_file_are_mistakes(shell: Shell) -> None:
    assert "line 1 is not JSON" in shell.error(2, *ROLE, stdin=b'"\xff"')
    assert "missing.json" in shell.error(2, *ROLE, "missing.json")
    assert "Missing option '-a' / '--address'" in shell.error(2, "transaction")
    assert "'*:s' is a broadcast pattern" in shell.error(2, "transaction", "-a", "*:s")


@pytest.mark.file_only
def test_an_error_of_the_bus_file_is_not_told_as_one_of_a_call(db: str, connect: Callable[..., BusClient]) -> None:
    bus = connect("boss:s")
    connect("worker:s")
    BusClient.at("other:s", f"{db}.new").close()

    def calls() -> Iterator[Call]:
        yield Call("send", ("worker:s", "note"), {})
        os.replace(f"{db}.new", db)
        yield Call("send", ("worker:s", "note"), {})

    with pytest.raises(DatabaseError) as caught:
        run_batch(bus, calls(), label=lambda number: f"line {number}: ")

    assert str(caught.value).startswith(f"the bus {db} was replaced during a transaction")


@pytest.mark.parametrize(("address", "said"), [("*:s", "is a broadcast pattern"), ("worker", "has no ':'")])
def test_a_wrong_address_is_refused_also_if_there_are_no_lines(shell: Shell, address: str, said: str) -> None:
    assert said in shell.error(2, "transaction", "-a", address)
