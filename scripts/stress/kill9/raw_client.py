"""Write and read JSON lines as any language can: send without end, and receive with automatic acks."""

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
from scripts.stress.kill9.actor import Actor, run_actor

_ADDRESS = "raw:kill9"
_WINDOW = 4
_PAUSE_S = 0.02


class _Connection:
    """A client of the server that connects once per call of `run`."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._factory = message_factory.MessageFactory(actor)
        self._pending_sends: dict[int, int] = {}

    def run(self) -> None:
        """Connect, subscribe, send and receive until the server closes the connection."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._actor.socket)
            connection.settimeout(10)
            self._pending_sends.clear()
            # One window of messages may be unread in the socket, and one read and not yet in the journal.
            at_risk = {"at_risk": 2 * _WINDOW, "at_risk_in_server": _WINDOW}
            self._actor.consuming(_ADDRESS, "auto", transport="socket", prefetch=2 * _WINDOW, **at_risk)
            self._request(connection, "subscribe", {"role": _ADDRESS, "ack": "auto", "window": _WINDOW})
            unread = b""
            send_at = time.monotonic()
            while True:
                if time.monotonic() >= send_at and len(self._pending_sends) < 3 and not self._actor.is_draining:
                    self._send(connection)
                    send_at = time.monotonic() + self._actor.random.uniform(0.005, 0.05)
                self._actor.journal.write("asking")
                if not select.select([connection], [], [], _PAUSE_S)[0]:
                    continue
                data = connection.recv(1 << 16)
                if not data:
                    return
                *lines, unread = (unread + data).split(b"\n")
                for line in lines:
                    self._handle(json.loads(line))

    def _send(self, connection: socket.socket) -> None:
        message = self._factory.make()
        call = self._actor.next_call()
        self._actor.journal.write("sending", call=call, messages=message_factory.describe_all([message]), key=None)
        request_id = self._request(connection, "send", {"from": f"{self._actor.name}:outside", **message})
        self._pending_sends[request_id] = call

    def _request(self, connection: socket.socket, method: str, params: dict[str, Any]) -> int:
        number = self._actor.next_call()
        connection.sendall(request(method, params, number))
        return number

    def _handle(self, value: dict[str, Any]) -> None:
        """Handle a response or a notification."""
        if value.get("method") == "message":
            self._receive(value["params"]["message"])
            return
        call = self._pending_sends.pop(value.get("id", -1), None)
        if call is not None and "result" in value:
            self._actor.journal.write("sent", call=call, ids=[value["result"]["id"]])
        elif call is not None:
            self._actor.journal.write("refused", call=call, error=value["error"]["message"])
        if "error" in value and not value["error"]["data"]["retryable"]:
            raise ValueError(f"the server answers {value['error']}")

    def _receive(self, message: dict[str, Any]) -> None:
        fields = {name: message[name] for name in ("id", "urgency", "attempts")}
        token = token_of(message["body"])
        self._actor.journal.write("received", token=token, digest=digest(message["body"]), lease=None, **fields)


def run(actor: Actor) -> None:
    """Connect again after each end of the server."""
    connection = _Connection(actor)
    while True:
        with suppress(OSError):
            connection.run()
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    run_actor(run)
