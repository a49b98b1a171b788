"""Injection: messages whose texts are aimed at terminals, shells, SQL, JSON lines and file names.

Everything that a sender chooses (body, type, tags, ids, keys, reasons, addresses) carries such texts, by way of raven
and by foreign SQL, and goes through every output and every place where it could become more than a text.
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
from scripts.stress.injection.commands import InjectionShell
from scripts.stress.injection.texts import CANARY, SHELL, texts
from scripts.stress.trial import Round

_ADDRESS = "reader:s"
# What the completion script of bash sets.
_COMPLETION = {"_RAVEN_COMPLETE": "bash_complete", "COMP_WORDS": "raven\ninbox\n-r\n", "COMP_CWORD": "3"}
# A round that has no more time than this does with fewer commands.
_BRIEF_S = 10.0
# What writes down how it was called: its command line, its environment, and what it was given to read.
_PROBE = """
import json, os, sys
told = {"argv": sys.orig_argv, "env": dict(os.environ), "stdin": sys.stdin.read()}
open(sys.argv[1], "a").write(json.dumps(told) + "\\n")
"""


def run(round: Round) -> None:
    """Do each part once; which texts go where is left to chance."""
    shell = InjectionShell(round)
    with closing(BusClient.at(_ADDRESS, shell.db)) as bus:
        schema = _schema(bus)
        _send(shell, bus)
        user_sql.run(round, bus)
        _send_by_foreign_sql(shell, bus)
        _die(shell, bus)
        looks = list(_looks(bus))
        for command in round.random.sample(looks, len(looks) // (2 if _is_brief(round) else 1)):
            shell.run(*command)
        _read_json(shell, bus)
        _run_commands(shell, bus)
        rpc_lines.run(shell, bus)
        _complete(shell)
        _name_settings(shell)
        _give_arguments(shell, bus)
        doorbell_names.run(round, bus)
        found = bus._store.pragma("integrity_check")
        round.expect(found == "ok", f"integrity_check says {found}")
        round.expect(_schema(bus) == schema, "the schema of the bus was changed")
    round.expect(not shell.strangers(), f"a text has made files: {shell.strangers()}")


def _send(shell: InjectionShell, bus: BusClient) -> None:
    """Send each text in every place, and find it there again as it was."""
    for text in texts(shell.round.random, 12, nul=True):
        given = _given(text)
        sent = bus.send(_ADDRESS, **given)
        seen = bus.read(sent.id)
        got = {name: getattr(seen, name) for name in given}
        shell.round.expect(got == {**given, "tags": (text,)}, f"{text!a} came back as {got!a:.300}")
        for name in ("correlation_id", "task_id"):
            found = bus.history(**{name: text})
            shell.round.expect({getattr(one, name) for one in found} == {text}, f"history by {text!a} found others")
        shell.round.count("texts")
    # Addresses are names, too; the wildcards of SQL are none of theirs.
    bus.register("%:s", "_:s", "[a-z]:s")
    for address in ("%:s", "_:s", "[a-z]:s"):
        sent = bus.send(address, "note")
        shell.round.expect(bus.recipients(sent.id) == [address], f"{address} is taken for a pattern")


def _is_brief(round: Round) -> bool:
    return round.seconds < _BRIEF_S


def _given(text: str) -> dict[str, Any]:
    said = text if text.strip() else "x" + text
    return {"type": said, "body": {"text": text, text: [text]}, "tags": [said], "correlation_id": said,
            "task_id": said, "dedup_key": said}  # fmt: skip


def _send_by_foreign_sql(shell: InjectionShell, bus: BusClient) -> None:
    """Let a foreign client insert texts, some of which are no UTF-8, and write into what is raven's own."""
    columns = "(sender, recipient, type, body, tags, correlation_id, task_id, dedup_key)"
    plain = [
        (f"INSERT INTO outbox {columns} VALUES (?,?,?,?,?,?,?,?)",
         ["stranger:s", _ADDRESS, text.strip() or "x", json.dumps(text), json.dumps([text]), text, text, text])
        for text in texts(shell.round.random, 6)
    ]  # fmt: skip
    broken = "CAST(x'ff1b5b33316d0d0aff9b' AS TEXT)"
    raw = f"'stranger:s', '{_ADDRESS}', {broken}, CAST(x'22ff9b22' AS TEXT), NULL, {broken}, {broken}, {broken}"
    deep = "'" + "[" * 900 + "]" * 900 + "'"
    shell.foreign(
        *plain,
        (f"INSERT INTO outbox {columns} VALUES ({raw})", []),
        *((f"INSERT INTO outbox (sender, recipient, type, body) VALUES ('f:s', '{_ADDRESS}', 'n', {body})", [])
          for body in ("'\"\\ud800\"'", "'1e999'", f"'{'9' * 5000}'", '\'{"a":1,"a":2}\'', deep)),
    )  # fmt: skip
    sent = bus.send(_ADDRESS, "note")
    shell.foreign(
        ("UPDATE messages SET created_at = 9223372036854775807, tags = '[1, null]' WHERE id = ?", [sent.id]),
        ("UPDATE deliveries SET reason = ?, delivered_at = -9223372036854775807 WHERE id >> 20 = ?",
         [f"\x1b[31m\r\n{CANARY}", sent.id]),
    )  # fmt: skip
    for hidden in ("evil\x1b[31m:s", "\u202elive:s", "a\nb:s"):
        sent = bus.send("nobody:s", "note")
        shell.foreign(("UPDATE deliveries SET recipient = ? WHERE id >> 20 = ?", [hidden, sent.id]))


def _die(shell: InjectionShell, bus: BusClient) -> None:
    """Let a message die for a reason of each kind."""
    for text in texts(shell.round.random, 2 if _is_brief(shell.round) else 4, nul=True):
        sent = bus.send("dying:s", "note", max_attempts=1)
        with closing(BusClient.at("dying:s", shell.db)) as dying:
            dying.claim()
            dying.nack(sent.id, reason=text if text.strip() else "x")
        shell.run("receipts", str(sent.id))


def _looks(bus: BusClient) -> Iterator[list[str]]:
    """Yield every command that shows what others wrote."""
    yield from (line.split() for line in (
        f"inbox -a {_ADDRESS} --peek", f"inbox -a {_ADDRESS}", "tail --no-follow", "peers", "stats", "dead-letters",
        "doctor",
        f"claim -a {_ADDRESS} -m 3", "prune --older-than 0s --dry-run", "read 1", "thread 1", "requeue --all",
    ))  # fmt: skip
    for message in (bus.read(id) for id in (1, 2, 3, 7)):
        yield ["read", str(message.id)]
        if message.correlation_id and "\0" not in message.correlation_id:
            yield ["history", f"--correlation-id={message.correlation_id}"]


def _read_json(shell: InjectionShell, bus: BusClient) -> None:
    """See that JSON is JSON, a line a text, and says what was sent."""
    there = {message.id: message for message in bus.tail(follow=False)}
    for message in shell.json("tail", "--no-follow", lines=len(there)):
        told = there[message["id"]]
        is_same = (message["body"], message["type"], message["tags"]) == (told.body, told.type, list(told.tags))
        shell.round.expect(is_same, f"#{told.id} is another as JSON: {message!a:.300}")
    for command in (["inbox", "-a", _ADDRESS], ["peers"], ["dead-letters"], ["stats"], ["doctor"], ["receipts", "1"]):
        shell.json(*command)


def _run_commands(shell: InjectionShell, bus: BusClient) -> None:
    """See that `--exec` hands a message to a command by its standard input, and by nothing else."""
    got = shell.folder / "got"
    sent = [BusClient.at("exec:s", shell.db).send("exec:s", **_given(text)) for text in texts(shell.round.random, 4)]
    (shell.folder / "probe.py").write_text(_PROBE, encoding="utf-8")
    command = f"{sys.executable} probe.py got"
    shell.run("subscribe", "-a", "exec:s", "--count", str(len(sent)), "--exec", command)
    calls = [json.loads(line) for line in got.read_text(encoding="utf-8").splitlines()]
    shell.round.expect(len(calls) == len(sent), f"--exec ran {len(calls)} times for {len(sent)} messages")
    known = {*shell.environment, "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}
    for call, message in zip(calls, sent, strict=False):
        shell.round.expect(call["argv"] == command.split(), f"--exec called {call['argv']!a:.300}")
        shell.round.expect(set(call["env"]) <= known, f"--exec has {set(call['env']) - known} in its environment")
        told = json.loads(call["stdin"])
        shell.round.expect((told["id"], told["body"]) == (message.id, message.body), f"--exec read {told!a:.300}")
        shell.round.count("--exec commands")


def _complete(shell: InjectionShell) -> None:
    """See that the shell's completion offers no address that a shell would run."""
    with closing(BusClient.at("ok-1.2:s", shell.db)) as bus:
        bus.register(*(f"{text}:evil" for text in SHELL if _is_address(f"{text}:evil")))
    offered = subprocess.run(
        [sys.executable, "-m", "raven"],
        env={**shell.environment, **_COMPLETION},
        capture_output=True,
        text=True,
        cwd=shell.folder,
        timeout=60,
        check=False,
    ).stdout.split("\n")  # fmt: skip
    shell.round.expect("plain,ok-1.2:s" in offered, f"completion offers {offered!a:.300}")
    for one in offered:
        shell.round.expect(not set(one) & set("$`;|&<>()'\"\\ *?[]{}~#!\n"), f"completion offers {one!a}")


def _give_arguments(shell: InjectionShell, bus: BusClient) -> None:
    """Give texts to commands as the values of options, mistakes and all."""
    count = 2 if _is_brief(shell.round) else 8
    values = texts(shell.round.random, count)
    for text in values:
        before = bus.last_id()
        code, _ = shell.run(
            "send", "--from=a:s", "--to=b:s", f"--type={text}", f"--task-id={text}", "--body", json.dumps(text)
        )
        if code == 0:
            found = bus.read(before + 1)
            shell.round.expect(
                (found.type, found.task_id, found.body) == (text, text, text), f"{text!a} was sent as {found}"
            )
        for arguments in (
            [f"--body={text}", "--from=a:s", "--to=b:s", "-tx"], [f"--from={text}:s", "--to=b:s", "-tx"],
            ["--from=a:s", f"--to={text}", "-tx"], [f"--urgency={text}"], [text],
        ):  # fmt: skip
            if shell.round.random.random() < 0.4:
                shell.run("send", *arguments)
    for text in values[: count // 2]:
        shell.run("peers", f"--session={text}")
        shell.run("session", "init", "--", text)
        shell.run(text)
        shell.run("read", text)
        shell.run("nack", "1", "-a", _ADDRESS, f"--reason={text}")


def _name_settings(shell: InjectionShell) -> None:
    """Write texts into raven.yaml, and give them as paths of files and sockets."""
    place = shell.folder / "sub"
    place.mkdir()
    environment, folder = shell.environment, shell.folder
    shell.environment, shell.folder = {**environment, "RAVEN_DB": ""}, place
    try:
        for text in texts(shell.round.random, 2 if _is_brief(shell.round) else 6):
            for key in ("db", "log_level", "durability", "retention", text):
                if shell.round.random.random() < 0.3:
                    (place / "raven.yaml").write_text(json.dumps({key: text}), encoding="utf-8")
                    shell.run("peers", "--db=none.db")
            (place / "raven.yaml").unlink(missing_ok=True)
            name = text.replace("/", "_")[:100].strip(".") or "x"
            shell.run("init", "--force", f"--db=bus {name}")
        # Nobody is there, which is tried again for two seconds.
        if shell.round.random.random() < 0.5:
            shell.run(*shell.round.random.choice((["peers"], ["call", name])), f"--socket={name}.sock")
    finally:
        shell.environment, shell.folder = environment, folder
    made = [path.name for path in place.iterdir() if not path.name.startswith(("bus ", "raven.yaml", "none.db"))]
    shell.round.expect(not made, f"a setting has made files: {made!a}")


def _is_address(text: str) -> bool:
    try:
        parse_address(text)
    except RavenError:
        return False
    return True


def _schema(bus: BusClient) -> list[Any]:
    return bus.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name")
