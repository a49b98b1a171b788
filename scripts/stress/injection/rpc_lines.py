"""Injection wire: texts through the helper's socket, where a line is one JSON text each way."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from raven import BusClient
from scripts.harness.line import Line
from scripts.harness.served import Served
from scripts.stress.injection.commands import InjectionShell
from scripts.stress.injection.texts import texts
from scripts.stress.trial import Round

_DEADLINE_S = 60.0
_ADDRESS = "w:s"
# What is no request, or no body: each is answered with an error, by itself, and stores nothing.
_REFUSED = (
    '{"jsonrpc":"2.0","id":%d,"method":"send","params":{"from":"a:s","to":"w:s","type":"x","body":NaN}}',
    '{"jsonrpc":"2.0","id":%d,"method":"send","params":{"from":"a:s","to":"w:s","type":"x","body":1e999}}',
    '{"jsonrpc":"2.0","id":%d,"method":"send","params":{"from":"a:s","to":"w:s","type":"x","body":1,"body":2}}',
    '{"jsonrpc":"2.0","id":%d,"method":"send","params":{"from":"a:s","to":"w:s","type":"x","body":"\\ud800"}}',
    '{"jsonrpc":"2.0","id":%d,"method":"send","params":{"from":"a:s","to":"w:s","type":"x\\udfff"}}',
    '{"jsonrpc":"2.0","id":%d,"method":"send","params":{"from":"a:s","to":"w:s","type":"x","body":'
    + "9" * 5000
    + "}}",
    '{"jsonrpc":"2.0","id":%d,"method":"send","params":{"from":"a:s","to":"w:s","type":"x","body":'
    + "[" * 101 + "]" * 101 + "}}",
    '{"jsonrpc":"2.0","id":%d,"method":"send","params":{"from":"a:s","to":"\\u001b[31m"}}',
    '{"jsonrpc":"2.0","id":%d,"method":"\\u001b[31m\\r\\n{}"}',
    '{"jsonrpc":"2.0","id":%d} {"jsonrpc":"2.0"}',
    "[" * 5000 + "%d" + "]" * 5000,
    '\ufeff{"jsonrpc":"2.0","id":%d,"method":"ping"}',
    '{"jsonrpc":"2.0",\0"id":%d,"method":"ping"}',
)  # fmt: skip


def run(shell: InjectionShell, bus: BusClient) -> None:
    """Send and read texts of every kind over a socket, and see that each line is one JSON text that says the same."""
    round, path = shell.round, f"{shell.db}.sock"
    with Served(shell.db, path, **shell.environment) as helper, helper.connect() as line:
        wire = _Wire(round, line)
        for text in texts(round.random, 12, nul=True):
            said = text if text.strip() else "x" + text
            given = {"type": said, "body": [text, {text: None}], "tags": [said], "dedup_key": said}
            sent = wire.ask("send", {"from": "a:s", "to": _ADDRESS, **given})
            is_same = {name: sent.get(name) for name in given} == given
            seen = bus.read(sent["id"])
            is_same &= {"type": seen.type, "body": seen.body, "tags": list(seen.tags), "dedup_key": said} == given
            round.expect(is_same, f"{text!a} was sent over the socket as {sent!a:.300}")
        before = bus.last_id()
        for refused in _REFUSED:
            answer = wire.line(refused.replace("%d", "7"))
            round.expect("error" in answer, f"{refused!a:.150} was answered with {answer!a:.300}")
        round.expect(bus.last_id() == before, "what was refused over the socket has stored something")
        for message in bus.tail(follow=False):
            told = wire.ask("read", {"id": message.id})
            is_same = (told["body"], told["type"]) == (message.body, message.type)
            round.expect(is_same, f"#{message.id} is another over the socket: {told!a:.300}")
        for method in ("peers", "stats"):
            wire.ask(method, {})
        wire.check_with_jq()
        helper.stop()


class _Wire:
    """A connection on which every line is looked at."""

    def __init__(self, round: Round, line: Line) -> None:
        self._round = round
        self._line = line
        self._lines: list[bytes] = []

    def line(self, text: str) -> dict[str, Any]:
        """Write one line, and return the value of the one that comes."""
        self._line.write(text)
        line = self._line.read_line(_DEADLINE_S)
        assert line is not None, f"the helper has ended the connection after {text!a:.150}"
        self._lines.append(line + b"\n")
        self._round.count("socket lines")
        value = json.loads(line.decode())
        # Where Python's parser takes so many brackets they are a batch of one.
        return dict(value[0] if isinstance(value, list) else value)

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Call a method, with letters as they are, and return its result."""
        text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, ensure_ascii=False)
        answer = self.line(text)
        self._round.expect("result" in answer, f"{method} with {params!a:.200} failed: {answer!a:.300}")
        return answer.get("result", {})

    def check_with_jq(self) -> None:
        """See that another reader of JSON finds as many texts as there were lines."""
        if shutil.which("jq") is None:
            return
        done = subprocess.run(["jq", "-c", "type"], input=b"".join(self._lines), capture_output=True, check=False)
        count = done.stdout.count(b'"object"') + done.stdout.count(b'"array"')
        self._round.expect(count == len(self._lines), f"jq found {count} texts in {len(self._lines)} lines")
