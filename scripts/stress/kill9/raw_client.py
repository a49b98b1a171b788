"""Speak to the helper in lines of JSON, as any language can: send without end, and take mail with automatic acks."""

from __future__ import annotations

import json
import select
import socket
import time
from contextlib import suppress
from typing import Any

from scripts.harness.line import request
from scripts.stress.history.journal import digest, token_of
from scripts.stress.kill9 import message_factory
from scripts.stress.kill9.actor import Part, play

_ADDRESS = "raw:kill9"
_WINDOW = 4
_PAUSE_S = 0.02


class _Line:
    """One connection: lines out, lines in."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._maker = message_factory.Maker(part)
        self._asked: dict[int, int] = {}

    def talk(self) -> None:
        """Connect, subscribe, and go on until the helper ends the connection."""
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(self._part.socket)
            wire.settimeout(10)
            self._asked.clear()
            # What lies unread and what is read and not yet written down: twice the window.
            at_risk = {"at_risk": 2 * _WINDOW, "at_helpers_risk": _WINDOW}
            self._part.consuming(_ADDRESS, "auto", over="socket", ahead=2 * _WINDOW, **at_risk)
            self._ask(wire, "subscribe", {"role": _ADDRESS, "ack": "auto", "window": _WINDOW})
            unread = b""
            send_at = time.monotonic()
            while True:
                if time.monotonic() >= send_at and len(self._asked) < 3 and not self._part.is_calm:
                    self._send(wire)
                    send_at = time.monotonic() + self._part.random.uniform(0.005, 0.05)
                self._part.journal.write("asking")
                if not select.select([wire], [], [], _PAUSE_S)[0]:
                    continue
                data = wire.recv(1 << 16)
                if not data:
                    return
                *lines, unread = (unread + data).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))

    def _send(self, wire: socket.socket) -> None:
        message = self._maker.make()
        call = self._part.next_call()
        self._part.journal.write("sending", call=call, posts=message_factory.told([message]), key=None)
        self._asked[self._ask(wire, "send", {"from": f"{self._part.actor}:outside", **message})] = call

    def _ask(self, wire: socket.socket, method: str, params: dict[str, Any]) -> int:
        number = self._part.next_call()
        wire.sendall(request(method, params, number))
        return number

    def _hear(self, shape: dict[str, Any]) -> None:
        if shape.get("method") == "message":
            self._receive(shape["params"]["message"])
            return
        call = self._asked.pop(shape.get("id", -1), None)
        if call is not None and "result" in shape:
            self._part.journal.write("sent", call=call, ids=[shape["result"]["id"]])
        elif call is not None:
            self._part.journal.write("refused", call=call, error=shape["error"]["message"])
        if "error" in shape and not shape["error"]["data"]["retryable"]:
            raise ValueError(f"the helper says {shape['error']}")

    def _receive(self, message: dict[str, Any]) -> None:
        told = {name: message[name] for name in ("id", "urgency", "attempts")}
        token = token_of(message["body"])
        self._part.journal.write("received", token=token, digest=digest(message["body"]), lease=None, **told)


def run(part: Part) -> None:
    """Go on with the next helper whenever one is no more."""
    line = _Line(part)
    while True:
        with suppress(OSError):
            line.talk()
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    play(run)
