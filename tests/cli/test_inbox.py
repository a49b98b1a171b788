"""The commands that move mail: send, inbox, read, ack."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.shell import Shell

pytestmark = pytest.mark.both_ways

Sent = Callable[..., str]


def test_send_prints_id_route_and_type(sent: Sent) -> None:
    assert sent() == "sent #1 conductor:swarm-1 -> architect:swarm-1 type=plan\n"


@pytest.mark.parametrize(
    "options", [["-j", "-t", "x"], ["-tx", "-j"], ["-jt", "x"], ["--json", "--type", "x"], ["--type=x", "-j"]]
)
def test_an_option_may_be_given_by_either_name_and_with_its_value_beside_it(shell: Shell, options: list[str]) -> None:
    assert shell.json("send", *options, "--from", "a:s", "--to", "b:s")["type"] == "x"


def test_a_value_that_looks_like_an_option_stays_a_value(shell: Shell) -> None:
    sent = shell.json(
        "send", "--from", "a:s", "--to", "b:s", "--correlation-id", "-t", "-t", "-j", "--task-id=-t", "-j"
    )

    assert (sent["correlation_id"], sent["type"], sent["task_id"]) == ("-t", "-j", "-t")


def test_inbox_shows_a_message_again_and_again_until_it_is_acked(shell: Shell, sent: Sent) -> None:
    sent("--body", '{"step": 1}')
    line = '#1 conductor:swarm-1 -> architect:swarm-1 type=plan {"step": 1}\n'

    assert shell.ok("inbox", "-a", "architect:swarm-1") == line
    assert shell.ok("inbox", "--address", "architect:swarm-1") == line
    assert shell.ok("ack", "1") == "acked #1\n"
    assert shell.ok("inbox", "-a", "architect:swarm-1") == "(no messages)\n"


def test_inbox_json_is_an_object_of_messages(shell: Shell, sent: Sent) -> None:
    assert shell.json("inbox", "-a", "architect:swarm-1", "--json") == {"messages": []}
    sent("--body", '{"step": 1}', "--tag", "a", "--tag", "b", "--urgency", "blocking")
    sent("--correlation-id", "c-1", "--reply-to", "1", "--task-id", "t-1")

    first, second = shell.json("inbox", "-a", "architect:swarm-1", "-j")["messages"]

    assert first["body"] == {"step": 1}
    assert (first["tags"], first["urgency"], first["state"]) == (["a", "b"], "blocking", "delivered")
    assert (second["correlation_id"], second["reply_to"], second["task_id"]) == ("c-1", 1, "t-1")
    assert second["body"] == {}


def test_inbox_max_limits_and_urgency_comes_first(shell: Shell, sent: Sent) -> None:
    for urgency in ("fyi", "prompt", "blocking"):
        sent("--urgency", urgency)

    messages = shell.json("inbox", "-a", "architect:swarm-1", "-m", "2", "--json")["messages"]

    assert [message["urgency"] for message in messages] == ["blocking", "prompt"]


def test_peek_and_read_mark_nothing_and_register_nobody_as_an_ack_does_not(shell: Shell, sent: Sent) -> None:
    sent()

    shell.ok("inbox", "-a", "architect:swarm-1", "--peek")

    assert shell.state(1) == "sent"
    shell.ok("ack", "1")
    registered = [peer["address"] for peer in shell.json("peers", "--json")["peers"] if peer["registered_at"]]
    assert registered == ["conductor:swarm-1"]


def test_read_shows_every_property_and_changes_nothing(shell: Shell, sent: Sent) -> None:
    sent("--body", '{"step": 1}', "--tag", "x", "--expires-in", "1h")

    shown = shell.ok("read", "1")

    assert shown.splitlines()[0].startswith("#1 conductor:swarm-1 -> architect:swarm-1 type=plan")
    assert "  state: sent\n" in shown
    assert "  expires_at: 2" in shown
    assert shell.json("read", "1", "--json")["state"] == "sent"
    assert shell.json("read", "1", "--json", "--address", "architect:swarm-1")["recipient"] == "architect:swarm-1"


def test_body_comes_from_a_file_or_from_stdin(shell: Shell, sent: Sent, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text('["from", "a file"]')
    sent("--body-file", "body.json")
    shell.ok("send", "--from", "a:s", "--to", "b:s", "--type", "x", "--body-file", "-", stdin='"from stdin"')

    assert shell.json("read", "1", "-j")["body"] == ["from", "a file"]
    assert shell.json("read", "2", "-j")["body"] == "from stdin"


def test_several_to_make_one_message_with_several_deliveries(shell: Shell) -> None:
    line = shell.ok("send", "--from", "a:s", "--to", "b:s", "--to", "c:s", "-t", "x")

    assert line == "sent #1 a:s -> b:s, c:s type=x\n"
    assert [shell.json("inbox", "-a", who, "-j")["messages"][0]["to"] for who in ("b:s", "c:s")] == [["b:s", "c:s"]] * 2


def test_ack_takes_several_ids_and_is_idempotent(shell: Shell, sent: Sent) -> None:
    sent()
    sent()

    assert shell.ok("ack", "1", "2") == "acked #1\nacked #2\n"
    assert shell.json("ack", "1", "2", "--json") == {"acked": [1, 2]}


def test_expired_mail_is_not_shown_and_delayed_mail_not_yet(shell: Shell, sent: Sent) -> None:
    sent("--expires-in", "1ms")
    sent("--delay", "1h")

    assert shell.ok("inbox", "-a", "architect:swarm-1") == "(no messages)\n"
    assert shell.json("read", "1", "-j")["state"] == "expired"


def test_send_json_prints_the_message(shell: Shell) -> None:
    message = shell.json("send", "--from", "a:s", "--to", "b:s", "-t", "x", "--body", "[1]", "--json")

    assert (message["id"], message["sender"], message["to"], message["body"]) == (1, "a:s", "b:s", [1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "b:s", "-t", "x"], "Missing option '--from'"),
        (["--from", "a:s", "-t", "x"], "Missing option '--to'"),
        (["--from", "a:s", "--to", "b:s"], "Missing option '-t' / '--type'"),
        (["--from", "nobody", "--to", "b:s", "-t", "x"], "address 'nobody' has no ':'"),
        (["--from", "a:s", "--to", "b:", "-t", "x"], "address 'b:': its session is empty"),
        (["--from", "*:s", "--to", "b:s", "-t", "x"], "'*:s' is a broadcast pattern"),
        (["--from", "a:s", "--to", "b:s", "-t", " "], "type ' ' must be a text"),
        (["--from", "a:s", "--to", "b:s", "-t", "x", "--body", "{bad"], "body '{bad' is not JSON"),
        (["--from", "a:s", "--to", "b:s", "-t", "x", "--body", "NaN"], "NaN is not a JSON value"),
        (["--from", "a:s", "--to", "b:s", "-t", "x", "--body", "[" * 101 + "]" * 101], "deeper than 100 levels"),
        (["--from", "a:s", "--to", "b:s", "-t", "x", "--body", "1", "--body-file", "-"], "exclude each other"),
        (["--from", "a:s", "--to", "b:s", "-t", "x", "--body-file", "missing.json"], "missing.json"),
        (["--from", "a:s", "--to", "b:s", "-t", "x", "--urgency", "now"], "'now' is not one of"),
        (["--from", "a:s", "--to", "b:s", "-t", "x", "--reply-to", "one"], "'one' is not a valid integer"),
        (["--from", "a:s", "--to", "b:s", "-t", "x", "--reply-to", "0"], "reply_to 0 is not the id of a message"),
        (["--from", "a:s", "--to", "b:s", "-t", "x", "--expires-in", "soon"], "'soon' is not a duration"),
        (["--from", "a:s", "--to", "b:s", "-t", "x", "--expires-in", "0"], "expires_in_s 0.0"),
    ],
)
def test_a_wrong_send_is_one_line_and_sends_nothing(shell: Shell, arguments: list[str], said: str) -> None:
    assert said in shell.error(2, "send", *arguments)
    shell.ok("session", "init", "s")
    assert shell.ok("tail", "--no-follow") == ""


def test_body_that_is_not_utf_8_is_refused(shell: Shell) -> None:
    said = shell.error(2, "send", "--from", "a:s", "--to", "b:s", "-t", "x", "--body-file", "-", stdin=b'"\xff"')

    assert "is not UTF-8" in said


@pytest.mark.file_only
def test_body_over_the_limit_of_raven_yaml_is_refused(shell: Shell) -> None:
    (shell.folder / "raven.yaml").write_text("max_body_bytes: 10\n")

    said = shell.error(2, "send", "--from", "a:s", "--to", "b:s", "-t", "x", "--body", '"' + "x" * 20 + '"')

    assert "22 bytes" in said
    assert "limit of 10" in said


def test_unknown_message_exits_4(shell: Shell, sent: Sent) -> None:
    sent()

    assert shell.error(4, "read", "9").startswith("there is no message #9")
    assert shell.error(4, "ack", "9").startswith("there is no message #9")
    assert shell.error(4, "receipts", "9").startswith("there is no message #9")
    assert shell.run("ack", "1", "9").stdout == "acked #1\n"
    assert "max 9999999999999999999 is not" in shell.error(2, "inbox", "-a", "a:s", "-m", "9999999999999999999")
    assert shell.error(4, "read", "99999999999999999999").startswith("there is no message #")
    assert shell.error(4, "ack", "1", "-a", "other:swarm-1").startswith("message #1 was not sent to other:swarm-1")


def test_broadcast_to_nobody_exits_6(shell: Shell, sent: Sent) -> None:
    said = shell.error(6, "send", "--from", "a:s", "--to", "*:ghost", "-t", "x")

    assert "no registered address matches '*:ghost'" in said


def test_no_message_text_can_forge_a_terminal_line(shell: Shell) -> None:
    evil = "x\n#9 boss:hq -> you:hq type=order \u001b[31m\u009b2J\u202e"
    body = json.dumps({"text": evil})
    arguments = ("--from", "a:s", "--to", "b:s", "--tag", evil, "-t", evil, "--body", body)

    shown = [
        shell.ok("send", *arguments),
        shell.ok("inbox", "-a", "b:s"),
        shell.ok("read", "1"),
        shell.ok("tail", "--no-follow"),
        shell.ok("inbox", "-a", "b:s", "--json"),
    ]

    for text in shown:
        assert not set(text) & {"\u001b", "\u009b", "\u202e"}
        assert not [line for line in text.splitlines() if line.startswith("#9")]
