"""RPC lines: texts through the server's socket, where each line is one JSON text."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from raven import BusClient
from scripts.harness.line import Line
from scripts.harness.served import Served
from scripts.stress.injection.commands import CommandRunner
from scripts.stress.injection.texts import texts
from scripts.stress.trial import Round

_DEADLINE_S = 60.0
_ADDRESS = "w:s"
# Invalid requests and bodies: each gets an error, and stores nothing.
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


def run(runner: CommandRunner, bus: BusClient) -> None:
    """Send and read texts of every kind over a socket; each line must be one JSON text with the same values."""
    round, path = runner.round, f"{runner.db}.sock"
    with Served(runner.db, path, **runner.environment) as server, server.connect() as line:
        connection = _Connection(round, line)
        for text in texts(round.random, 12, nul=True):
            nonblank = text if text.strip() else "x" + text
            fields = {"type": nonblank, "body": [text, {text: None}], "tags": [nonblank], "dedup_key": nonblank}
            sent = connection.ask("send", {"from": "a:s", "to": _ADDRESS, **fields})
            is_same = {name: sent.get(name) for name in fields} == fields
            seen = bus.read(sent["id"])
            is_same &= {"type": seen.type, "body": seen.body, "tags": list(seen.tags), "dedup_key": nonblank} == fields
            round.expect(is_same, f"{text!a} was sent over the socket as {sent!a:.300}")
        before = bus.last_id()
        for refused in _REFUSED:
            answer = connection.line(refused.replace("%d", "7"))
            round.expect("error" in answer, f"{refused!a:.150} was answered with {answer!a:.300}")
        round.expect(bus.last_id() == before, "a refused request should store nothing")
        for message in bus.tail(follow=False):
            read = connection.ask("read", {"id": message.id})
            is_same = (read["body"], read["type"]) == (message.body, message.type)
            round.expect(is_same, f"#{message.id} differs over the socket: {read!a:.300}")
        for method in ("peers", "stats"):
            connection.ask(method, {})
        connection.check_with_jq()
        server.stop()


class _Connection:
    """A connection that checks every line."""

    def __init__(self, round: Round, line: Line) -> None:
        self._round = round
        self._line = line
        self._lines: list[bytes] = []

    def line(self, text: str) -> dict[str, Any]:
        """Write a line, and return the value of the response."""
        self._line.write(text)
        line = self._line.read_line(_DEADLINE_S)
        assert line is not None, f"the server has closed the connection after {text!a:.150}"
        self._lines.append(line + b"\n")
        self._round.count("socket lines")
        value = json.loads(line.decode())
        # If Python's parser accepts so many brackets, they are a batch of one.
        return dict(value[0] if isinstance(value, list) else value)

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Call a method, with unescaped characters, and return its result."""
        text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, ensure_ascii=False)
        answer = self.line(text)
        self._round.expect("result" in answer, f"{method} with {params!a:.200} failed: {answer!a:.300}")
        return answer.get("result", {})

    def check_with_jq(self) -> None:
        """Check that jq finds as many JSON texts as there were lines."""
        if shutil.which("jq") is None:
            return
        done = subprocess.run(["jq", "-c", "type"], input=b"".join(self._lines), capture_output=True, check=False)
        count = done.stdout.count(b'"object"') + done.stdout.count(b'"array"')
        self._round.expect(count == len(self._lines), f"jq found {count} texts in {len(self._lines)} lines")
