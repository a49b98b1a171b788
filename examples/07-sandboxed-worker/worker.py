"""A worker that has only a socket: no raven, no path of the bus. First it does a job, then it tries to break out.

It reads its program from stdin, has no file of its own, and uses only the standard library of Python. The job
`break-out` names all targets, so that only the server or the kernel can make an attempt fail.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOCKET = sys.argv[1]


class RefusedError(Exception):
    """An error response of the server."""


class Bus:
    """A connection to the server: one JSON text per line."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rw", encoding="utf-8", newline="\n")
        self.pushed: list[Any] = []
        self.last = 0

    def call(self, method: str, **params: Any) -> Any:
        self.last += 1
        params = {name.rstrip("_"): value for name, value in params.items()}
        print(json.dumps({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}), file=self.lines)
        self.lines.flush()
        while True:
            line = self.next_line()
            if line.get("id") == self.last:
                break
            self.pushed.append(line)
        if "error" in line:
            raise RefusedError(f"{line['error']['data']['kind']}: {line['error']['message']}")
        return line["result"]

    def next_line(self) -> Any:
        line = self.lines.readline()
        if not line:
            raise EOFError("the server has closed the connection")
        return json.loads(line)

    def next_push(self) -> Any:
        """Return the next notification."""
        return self.pushed.pop(0) if self.pushed else self.next_line()

    def history(self, correlation_id: str) -> list[Any]:
        return self.call("history", correlation_id=correlation_id)["messages"]

    def log(self) -> list[Any]:
        """Return all messages of a `tail`, over a connection of its own."""
        other = Bus(SOCKET)
        other.call("tail", follow=False)
        found = []
        while (push := other.next_push())["method"] == "message":
            found.append(push["params"]["message"])
        return found


def break_out(
    bus: Bus, boss: str, victim: str, secret_id: int, correlation_id: str, db_path: str | None
) -> list[list[str]]:
    """Make the attempts that must fail; returns pairs of texts: each attempt and its result."""
    attempts: dict[str, Callable[[], Any]] = {
        f"send as {boss}": lambda: bus.call("send", from_=boss, to=victim, type="order", body="pay the worker"),
        f"be {victim} with hello": lambda: bus.call("hello", as_=victim),
        f"read the inbox of {victim}": lambda: bus.call("inbox", role=victim, peek=True),
        f"subscribe as {victim}": lambda: bus.call("subscribe", role=victim),
        f"read message #{secret_id}": lambda: bus.call("read", id=secret_id),
        f"ask for whom #{secret_id} is": lambda: bus.call("recipients", id=secret_id),
        f"ack #{secret_id}": lambda: bus.call("ack", id=secret_id),
        f"ack #{secret_id} as {victim}": lambda: bus.call("ack", id=secret_id, role=victim),
        f"register {victim}": lambda: bus.call("register", role=victim),
        f"tail the mail of {victim}": lambda: bus.call("tail", role=victim),
        "find it in the history": lambda: found(bus.history(correlation_id), secret_id),
        "find it in the log": lambda: found(bus.log(), secret_id),
    }
    if db_path:
        attempts["open the bus file"] = lambda: Path(db_path).read_bytes()
    return [[what, outcome(attempt)] for what, attempt in attempts.items()]


def found(messages: list[Any], message_id: int) -> None:
    if not any(message["id"] == message_id for message in messages):
        raise RefusedError(f"not shown: there are {len(messages)} messages, and it is not among them")


def outcome(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
    except RefusedError as error:
        return f"refused: {error}"
    except OSError as error:
        return f"refused: {error.strerror}"
    return "SUCCEEDED"


def main() -> None:
    bus = Bus(SOCKET)
    bus.call("subscribe", ack="manual", window=1)
    while True:
        message = bus.next_push()["params"]["message"]
        answer = None
        if message["type"] == "count-words":
            answer = {"words": len(message["body"]["text"].split())}
        elif message["type"] == "break-out":
            peers = [peer["address"] for peer in bus.call("peers")["peers"]]
            answer = {"attempts": break_out(bus, **message["body"]), "peers": peers}
        if answer is not None:
            bus.call("send", to=message["sender"], type="answer", body=answer, reply_to=message["id"])
        bus.call("ack", id=message["id"])
        if message["type"] == "no-more":
            return


main()
