"""Injection: messages with texts that attack terminals, shells, SQL, JSON lines and file names.

Every field that a sender chooses (body, type, tags, ids, keys, reasons, addresses) has such texts, sent by raven and by
external SQL. They go through every output, and every place where a text could become code.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from raven import BusClient, RavenError
from raven.model.address import parse_address
from scripts.stress.injection import doorbell_names, rpc_lines, user_sql
from scripts.stress.injection.commands import CommandRunner
from scripts.stress.injection.texts import CANARY, SHELL, texts
from scripts.stress.trial import Round

_ADDRESS = "reader:s"
# The variables of bash's completion script.
_COMPLETION = {"_RAVEN_COMPLETE": "bash_complete", "COMP_WORDS": "raven\ninbox\n-r\n", "COMP_CWORD": "3"}
# A round shorter than this runs fewer commands.
_SHORT_S = 10.0
# It records its command line, its environment and its standard input.
_PROBE = """
import json, os, sys
call = {"argv": sys.orig_argv, "env": dict(os.environ), "stdin": sys.stdin.read()}
open(sys.argv[1], "a").write(json.dumps(call) + "\\n")
"""


def run(round: Round) -> None:
    """Run each part once, with random texts."""
    runner = CommandRunner(round)
    with closing(BusClient.at(_ADDRESS, runner.db)) as bus:
        schema = _schema(bus)
        _send(runner, bus)
        user_sql.run(round, bus)
        _send_by_external_sql(runner, bus)
        _dead_letter(runner, bus)
        commands = list(_read_commands(bus))
        for command in round.random.sample(commands, len(commands) // (2 if _is_short(round) else 1)):
            runner.run(*command)
        _read_json(runner, bus)
        _run_commands(runner, bus)
        rpc_lines.run(runner, bus)
        _complete(runner)
        _name_settings(runner)
        _give_arguments(runner, bus)
        doorbell_names.run(round, bus)
        result = bus._store.pragma("integrity_check")
        round.expect(result == "ok", f"integrity_check says {result}")
        round.expect(_schema(bus) == schema, "the schema of the bus was changed")
    round.expect(not runner.unexpected_files(), f"a text has created files: {runner.unexpected_files()}")


def _send(runner: CommandRunner, bus: BusClient) -> None:
    """Send each text in every field, and compare the stored message."""
    for text in texts(runner.round.random, 12, nul=True):
        fields = _fields(text)
        sent = bus.send(_ADDRESS, **fields)
        seen = bus.read(sent.id)
        actual = {name: getattr(seen, name) for name in fields}
        runner.round.expect(actual == {**fields, "tags": (text,)}, f"{text!a} was stored as {actual!a:.300}")
        for name in ("correlation_id", "task_id"):
            result = bus.history(**{name: text})
            runner.round.expect(
                {getattr(one, name) for one in result} == {text}, f"history by {text!a} returned other messages"
            )
        runner.round.count("texts")
    # SQL wildcards in addresses are plain characters.
    bus.register("%:s", "_:s", "[a-z]:s")
    for address in ("%:s", "_:s", "[a-z]:s"):
        sent = bus.send(address, "note")
        runner.round.expect(bus.recipients(sent.id) == [address], f"{address} is treated as a pattern")


def _is_short(round: Round) -> bool:
    return round.seconds < _SHORT_S


def _fields(text: str) -> dict[str, Any]:
    nonblank = text if text.strip() else "x" + text
    return {"type": nonblank, "body": {"text": text, text: [text]}, "tags": [nonblank], "correlation_id": nonblank,
            "task_id": nonblank, "dedup_key": nonblank}  # fmt: skip


def _send_by_external_sql(runner: CommandRunner, bus: BusClient) -> None:
    """Insert texts as an external client, some with invalid UTF-8, and write into raven's own tables."""
    columns = "(sender, recipient, type, body, tags, correlation_id, task_id, dedup_key)"
    plain = [
        (f"INSERT INTO outbox {columns} VALUES (?,?,?,?,?,?,?,?)",
         ["external:s", _ADDRESS, text.strip() or "x", json.dumps(text), json.dumps([text]), text, text, text])
        for text in texts(runner.round.random, 6)
    ]  # fmt: skip
    broken = "CAST(x'ff1b5b33316d0d0aff9b' AS TEXT)"
    broken_body = "CAST(x'22ff9b22' AS TEXT)"
    deep = "'" + "[" * 900 + "]" * 900 + "'"
    runner.external(
        *plain,
        (f"INSERT INTO outbox (sender, recipient, type, body) VALUES ('f:s', '{_ADDRESS}', 'n', {broken_body})", []),
        # The outbox refuses these texts, so they can come only from a program that changes raven's tables.
        (f"UPDATE messages SET type = {broken}, correlation_id = {broken}, task_id = {broken}, dedup_key = {broken} "
         "WHERE body = " + broken_body, []),
        *((f"INSERT INTO outbox (sender, recipient, type, body) VALUES ('f:s', '{_ADDRESS}', 'n', {body})", [])
          for body in ("'\"\\ud800\"'", "'1e999'", f"'{'9' * 5000}'", '\'{"a":1,"a":2}\'', deep)),
    )  # fmt: skip
    sent = bus.send(_ADDRESS, "note")
    runner.external(
        ("UPDATE messages SET created_at = 9223372036854775807, tags = '[1, null]' WHERE id = ?", [sent.id]),
        ("UPDATE deliveries SET reason = ?, delivered_at = -9223372036854775807 WHERE id >> 20 = ?",
         [f"\x1b[31m\r\n{CANARY}", sent.id]),
    )  # fmt: skip
    for hidden in ("evil\x1b[31m:s", "\u202elive:s", "a\nb:s"):
        sent = bus.send("unread:s", "note")
        runner.external(("UPDATE deliveries SET recipient = ? WHERE id >> 20 = ?", [hidden, sent.id]))


def _dead_letter(runner: CommandRunner, bus: BusClient) -> None:
    """Let messages become dead letters, with texts as the reason."""
    for text in texts(runner.round.random, 2 if _is_short(runner.round) else 4, nul=True):
        sent = bus.send("dead:s", "note", max_attempts=1)
        with closing(BusClient.at("dead:s", runner.db)) as client:
            client.claim()
            client.nack(sent.id, reason=text if text.strip() else "x")
        runner.run("receipts", str(sent.id))


def _read_commands(bus: BusClient) -> Iterator[list[str]]:
    """Yield every command that shows texts of other senders."""
    yield from (line.split() for line in (
        f"inbox -a {_ADDRESS} --peek", f"inbox -a {_ADDRESS}", "tail --no-follow", "peers", "stats", "dead-letters",
        "doctor",
        f"claim -a {_ADDRESS} -m 3", "prune --older-than 0s --dry-run", "read 1", "thread 1", "requeue --all",
    ))  # fmt: skip
    for message in (bus.read(id) for id in (1, 2, 3, 7)):
        yield ["read", str(message.id)]
        if message.correlation_id and "\0" not in message.correlation_id:
            yield ["history", f"--correlation-id={message.correlation_id}"]


def _read_json(runner: CommandRunner, bus: BusClient) -> None:
    """Check that JSON output is one JSON text per line, and has the sent values."""
    by_id = {message.id: message for message in bus.tail(follow=False)}
    for message in runner.json("tail", "--no-follow", lines=len(by_id)):
        expected = by_id[message["id"]]
        is_same = (message["body"], message["type"], message["tags"]) == (
            expected.body,
            expected.type,
            list(expected.tags),
        )
        runner.round.expect(is_same, f"#{expected.id} differs as JSON: {message!a:.300}")
    for command in (["inbox", "-a", _ADDRESS], ["peers"], ["dead-letters"], ["stats"], ["doctor"], ["receipts", "1"]):
        runner.json(*command)


def _run_commands(runner: CommandRunner, bus: BusClient) -> None:
    """Check that `--exec` passes a message only through the command's standard input."""
    calls_file = runner.folder / "got"
    sent = [BusClient.at("exec:s", runner.db).send("exec:s", **_fields(text)) for text in texts(runner.round.random, 4)]
    (runner.folder / "probe.py").write_text(_PROBE, encoding="utf-8")
    command = f"{sys.executable} probe.py got"
    runner.run("subscribe", "-a", "exec:s", "--count", str(len(sent)), "--exec", command)
    calls = [json.loads(line) for line in calls_file.read_text(encoding="utf-8").splitlines()]
    runner.round.expect(len(calls) == len(sent), f"--exec ran {len(calls)} times for {len(sent)} messages")
    known = {*runner.environment, "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}
    for call, message in zip(calls, sent, strict=False):
        runner.round.expect(call["argv"] == command.split(), f"--exec called {call['argv']!a:.300}")
        runner.round.expect(set(call["env"]) <= known, f"--exec has {set(call['env']) - known} in its environment")
        message_read = json.loads(call["stdin"])
        runner.round.expect(
            (message_read["id"], message_read["body"]) == (message.id, message.body),
            f"--exec read {message_read!a:.300}",
        )
        runner.round.count("--exec commands")


def _complete(runner: CommandRunner) -> None:
    """Check that the runner's completion offers no address with runner syntax."""
    with closing(BusClient.at("ok-1.2:s", runner.db)) as bus:
        bus.register(*(f"{text}:evil" for text in SHELL if _is_address(f"{text}:evil")))
    offered = subprocess.run(
        [sys.executable, "-m", "raven"],
        env={**runner.environment, **_COMPLETION},
        capture_output=True,
        text=True,
        cwd=runner.folder,
        timeout=60,
        check=False,
    ).stdout.split("\n")  # fmt: skip
    runner.round.expect("plain,ok-1.2:s" in offered, f"completion offers {offered!a:.300}")
    for one in offered:
        runner.round.expect(not set(one) & set("$`;|&<>()'\"\\ *?[]{}~#!\n"), f"completion offers {one!a}")


def _give_arguments(runner: CommandRunner, bus: BusClient) -> None:
    """Pass texts as option values, and as invalid arguments."""
    count = 2 if _is_short(runner.round) else 8
    values = texts(runner.round.random, count)
    for text in values:
        before = bus.last_id()
        code, _ = runner.run(
            "send", "--from=a:s", "--to=b:s", f"--type={text}", f"--task-id={text}", "--body", json.dumps(text)
        )
        if code == 0:
            result = bus.read(before + 1)
            runner.round.expect(
                (result.type, result.task_id, result.body) == (text, text, text), f"{text!a} was sent as {result}"
            )
        for arguments in (
            [f"--body={text}", "--from=a:s", "--to=b:s", "-tx"], [f"--from={text}:s", "--to=b:s", "-tx"],
            ["--from=a:s", f"--to={text}", "-tx"], [f"--urgency={text}"], [text],
        ):  # fmt: skip
            if runner.round.random.random() < 0.4:
                runner.run("send", *arguments)
    for text in values[: count // 2]:
        runner.run("peers", f"--session={text}")
        runner.run("session", "init", "--", text)
        runner.run(text)
        runner.run("read", text)
        runner.run("nack", "1", "-a", _ADDRESS, f"--reason={text}")


def _name_settings(runner: CommandRunner) -> None:
    """Write texts into raven.yaml, and pass them as paths of files and sockets."""
    folder_used = runner.folder / "sub"
    folder_used.mkdir()
    environment, folder = runner.environment, runner.folder
    runner.environment, runner.folder = {**environment, "RAVEN_DB": ""}, folder_used
    try:
        for text in texts(runner.round.random, 2 if _is_short(runner.round) else 6):
            for key in ("db", "log_level", "durability", "retention", text):
                if runner.round.random.random() < 0.3:
                    (folder_used / "raven.yaml").write_text(json.dumps({key: text}), encoding="utf-8")
                    runner.run("peers", "--db=none.db")
            (folder_used / "raven.yaml").unlink(missing_ok=True)
            name = text.replace("/", "_")[:100].strip(".") or "x"
            runner.run("init", "--force", f"--db=bus {name}")
        # No server listens there: the client retries for two seconds.
        if runner.round.random.random() < 0.5:
            runner.run(*runner.round.random.choice((["peers"], ["call", name])), f"--socket={name}.sock")
    finally:
        runner.environment, runner.folder = environment, folder
    created = [
        path.name for path in folder_used.iterdir() if not path.name.startswith(("bus ", "raven.yaml", "none.db"))
    ]
    runner.round.expect(not created, f"a setting has created files: {created!a}")


def _is_address(text: str) -> bool:
    try:
        parse_address(text)
    except RavenError:
        return False
    return True


def _schema(bus: BusClient) -> list[Any]:
    return bus.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name")
