"""Injection wire: texts through the helper's socket, where a line is one JSON text each way."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from typing import Any

from raven import BusClient
from scripts.trials.injection.shell import InjectionShell
from scripts.trials.injection.texts import texts
from scripts.trials.trial import Round

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
    helper = subprocess.Popen(
        [sys.executable, "-m", "raven", "serve", "--db", shell.db, "--socket", path],
        stdout=subprocess.PIPE,
        env=shell.environment,
    )
    try:
        assert helper.stdout is not None
        helper.stdout.readline()
        with _Wire(round, path) as wire:
            for text in texts(round.random, 12, nul=True):
                said = text if text.strip() else "x" + text
                given = {"type": said, "body": [text, {text: None}], "tags": [said], "dedup_key": said}
                sent = wire.ask("send", {"from": "a:s", "to": _ADDRESS, **given})
                is_same = {name: sent.get(name) for name in given} == given
                seen = bus.read(sent["id"])
                is_same &= {"type": seen.type, "body": seen.body, "tags": list(seen.tags), "dedup_key": said} == given
                round.expect(is_same, f"{text!a} was sent over the socket as {sent!a:.300}")
            before = bus.last_id()
            for line in _REFUSED:
                answer = wire.line(line.replace("%d", "7"))
                round.expect("error" in answer, f"{line!a:.150} was answered with {answer!a:.300}")
            round.expect(bus.last_id() == before, "what was refused over the socket has stored something")
            for message in bus.tail(follow=False):
                told = wire.ask("read", {"id": message.id})
                is_same = (told["body"], told["type"]) == (message.body, message.type)
                round.expect(is_same, f"#{message.id} is another over the socket: {told!a:.300}")
            for method in ("peers", "stats"):
                wire.ask(method, {})
            wire.check_with_jq()
    finally:
        helper.terminate()
        helper.wait(_DEADLINE_S)
        if helper.stdout is not None:
            helper.stdout.close()


class _Wire:
    """A connection on which every line is looked at."""

    def __init__(self, round: Round, path: str) -> None:
        self._round = round
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_DEADLINE_S)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")
        self._lines: list[bytes] = []

    def __enter__(self) -> _Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def line(self, text: str) -> dict[str, Any]:
        """Write one line, and return the value of the one that comes."""
        self._socket.sendall(text.encode() + b"\n")
        line = self._file.readline()
        self._lines.append(line)
        self._round.did("lines of the socket")
        return dict(json.loads(line.decode()))

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
        count = done.stdout.count(b'"object"')
        self._round.expect(count == len(self._lines), f"jq found {count} texts in {len(self._lines)} lines")
